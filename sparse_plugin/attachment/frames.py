"""The end of a call that no hook sees: of a generator whose `forward` is called directly, or of a part of one."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

_TORCH = nn.Module.__call__.__code__.co_filename
_CALL = nn.Module._call_impl.__code__
# A step of training may be a method of the generator too, and must not be taken twice.
_MAKING = re.compile(r"_?(decode|generate|reconstruct|render|sample|synthes)")


def when_returned(module: nn.Module, path: str, then: Callable[[Any], None], methods: bool = True) -> str | None:
    """Call then with what the running forward around module returns, before anybody gets it; None where it raises.

    path: that of module in the generator. methods: whether a method of another name, such as `decode`, is followed too.
    What then raises is raised where the forward was called. Returns the path of the part that is called, "" for the
    generator itself; None where then will not be called: no forward may be running, or a profiler (`sys.setprofile`) may
    stand where this would.
    """
    found = _forward_around(module, path)
    if found is None or sys.getprofile() is not None:
        return None
    forward, part = found
    if not methods and forward.f_code.co_name != "forward":
        return None

    def returning(frame: FrameType, event: str, value: Any) -> None:
        if frame is forward and event == "return":
            sys.setprofile(None)
            then(value)

    sys.setprofile(returning)
    return part


@dataclass(frozen=True)
class PartCall:
    """A running call past the generator: of a method such as `decode`, or of a part of it. With what it was called with, as far as
    its variables still tell.
    """

    path: str  # of the part, "" for the generator itself
    frame: FrameType
    run: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: int  # the pixels of the largest image among its arguments, and among those of the methods that it is a part of


def part_calls(module: nn.Module, path: str) -> list[PartCall]:
    """The running calls around module, whose path in the generator this is, that may be made once more to see what they make: a
    method that is named for making images, whose name says that it does nothing else, and what is a forward.
    """
    found = [(frame, part) for frame, part in _around(module, path) if _MAKING.match(frame.f_code.co_name)][:1]
    forward = _forward_around(module, path)
    if forward is not None and forward not in found:
        found.append(forward)
    return [call for frame, part in found if (call := _part_call(module, path, frame, part)) is not None]


def _part_call(module: nn.Module, path: str, frame: FrameType, part: str) -> PartCall | None:
    arguments = inspect.getargvalues(frame)
    held, count = arguments.locals, frame.f_code.co_argcount
    (own, *rest), only = arguments.args[:count], arguments.args[count:]
    if any(name not in held for name in (own, *rest, *only, *filter(None, (arguments.varargs, arguments.keywords)))):
        return None
    run = getattr(held[own], frame.f_code.co_name, None)
    if not callable(run):
        return None
    args = (*(held[name] for name in rest), *(held[arguments.varargs] if arguments.varargs else ()))
    kwargs = {**{name: held[name] for name in only}, **(held[arguments.keywords] if arguments.keywords else {})}
    return PartCall(part, frame, run, args, kwargs, given(module, path, frame))


def given(module: nn.Module, path: str, inner: FrameType | None = None) -> int:
    """The pixels of the largest image among the arguments of the running methods around module, from inner on; 0 where what they make
    may have any size: the forward of the generator is one of them, or the innermost other is named for making images.
    """
    found: list[Any] = []
    methods = 0
    for around, part in _around(module, path, inner):
        code = around.f_code
        methods += code.co_name != "forward"
        if (code.co_name == "forward" and not part) or (methods == 1 and _MAKING.match(code.co_name)):
            return 0
        found += [around.f_locals.get(name) for name in code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]]
    return pixels(found)


def is_code(made: int, given: int) -> bool:
    """Whether so many pixels are the code of a given image: an encoder halves its sides at least."""
    return 4 * made <= given


def pixels(values: Any) -> int:
    """Of the largest image in a tree of values; 0 where there is none."""
    images = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.dim() >= 4 and leaf.shape[1] <= 4]
    return max((math.prod(image.shape[-2:]) for image in images), default=0)


def _around(module: nn.Module, path: str, inner: FrameType | None = None) -> Iterator[tuple[FrameType, str]]:
    """The running methods, the innermost first, of the generator and of those parts of it that hold module; from inner on."""
    names = path.split(".")
    tails = [(".".join(names[start:]), ".".join(names[:start])) for start in range(len(names))]
    frame = inner or sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_argcount and code.co_filename != _TORCH:
            owner = frame.f_locals.get(code.co_varnames[0])
            part = next((part for tail, part in tails if _at(owner, tail) is module), None)
            if part is not None:
                yield frame, part
        frame = frame.f_back  # type: ignore[assignment]


def calls(module: nn.Module) -> int:
    """How many calls of module are running in this thread, one inside the other."""
    count, frame = 0, sys._getframe(1)
    while (at := frame) is not None:
        count += at.f_code is _CALL and at.f_locals.get("self") is module
        frame = at.f_back  # type: ignore[assignment]
    return count


def _forward_around(module: nn.Module, path: str) -> tuple[FrameType, str] | None:
    """The outermost `forward` among the running calls of the generator, or of a part of it that holds module; else the
    innermost of its other methods, such as `decode`. With the path of what it is a method of.
    """
    forward: tuple[FrameType, str] | None = None
    other: tuple[FrameType, str] | None = None
    for found in _around(module, path):
        if found[0].f_code.co_name == "forward":
            forward = found
        other = other or found
    return forward or other


def _at(owner: object, path: str) -> nn.Module | None:
    try:
        return owner.get_submodule(path) if isinstance(owner, nn.Module) else None
    except AttributeError:
        return None

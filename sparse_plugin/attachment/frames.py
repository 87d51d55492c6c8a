"""The end of a call that no hook sees: of a generator whose `forward` is called directly, or of a part of one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import nn

_TORCH = nn.Module.__call__.__code__.co_filename
_CALL = nn.Module._call_impl.__code__


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
    names = path.split(".")
    tails = [(".".join(names[start:]), ".".join(names[:start])) for start in range(len(names))]
    frame: FrameType | None = sys._getframe(1)
    forward: tuple[FrameType, str] | None = None
    other: tuple[FrameType, str] | None = None
    while frame is not None:
        code = frame.f_code
        if code.co_argcount and code.co_filename != _TORCH:
            owner = frame.f_locals.get(code.co_varnames[0])
            part = next((part for tail, part in tails if _at(owner, tail) is module), None)
            if part is not None:
                if code.co_name == "forward":
                    forward = frame, part
                other = other or (frame, part)
        frame = frame.f_back
    return forward or other


def _at(owner: object, path: str) -> nn.Module | None:
    try:
        return owner.get_submodule(path) if isinstance(owner, nn.Module) else None
    except AttributeError:
        return None

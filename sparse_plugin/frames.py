"""The end of a call that no hook sees: of a generator whose `forward` is called directly, or of a part of one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import nn

_TORCH = nn.Module.__call__.__code__.co_filename


def when_returned(module: nn.Module, path: str, then: Callable[[Any], None]) -> str | None:
    """Call then with what the running forward around module returns, before anybody gets it; None where it raises.

    path: that of module in the generator. What then raises is raised where the forward was called. Returns the path
    of the part that is called, "" for the generator itself; None where then will not be called: no forward may be running, or a
    profiler (`sys.setprofile`) may stand where this would.
    """
    found = _forward_around(module, path)
    if found is None or sys.getprofile() is not None:
        return None
    forward, part = found

    def returning(frame: FrameType, event: str, value: Any) -> None:
        if frame is forward and event == "return":
            sys.setprofile(None)
            then(value)

    sys.setprofile(returning)
    return part


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

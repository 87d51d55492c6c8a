"""The end of a call that no hook sees: of a generator whose `forward` is called directly, or of a part of one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import nn

_TORCH = nn.Module.__call__.__code__.co_filename


def when_returned(module: nn.Module, path: str, then: Callable[[Any], None]) -> bool:
    """Call then with what the running forward around module returns, before anybody gets it; None where it raises.

    path: that of module in the generator. What then raises is raised where the forward was called. Returns whether it will
    be called: no forward may be running, or a profiler (`sys.setprofile`) may stand where this would.
    """
    forward = _forward_around(module, path)
    if forward is None or sys.getprofile() is not None:
        return False

    def returning(frame: FrameType, event: str, value: Any) -> None:
        if frame is forward and event == "return":
            sys.setprofile(None)
            then(value)

    sys.setprofile(returning)
    return True


def _forward_around(module: nn.Module, path: str) -> FrameType | None:
    """The outermost `forward` among the running calls of the generator, or of a part of it that holds module; else the
    innermost of its other methods, such as `decode`.
    """
    names = path.split(".")
    tails = [".".join(names[start:]) for start in range(len(names))]
    frame: FrameType | None = sys._getframe(1)
    forward, other = None, None
    while frame is not None:
        code = frame.f_code
        if code.co_argcount and code.co_filename != _TORCH:
            owner = frame.f_locals.get(code.co_varnames[0])
            if isinstance(owner, nn.Module) and any(_at(owner, tail) is module for tail in tails):
                if code.co_name == "forward":
                    forward = frame
                other = other or frame
        frame = frame.f_back
    return forward or other


def _at(owner: nn.Module, path: str) -> nn.Module | None:
    try:
        return owner.get_submodule(path)
    except AttributeError:
        return None

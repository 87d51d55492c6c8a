"""Hooks that a module calls before a state_dict is loaded into it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class LoadHook:
    """A load_state_dict pre-hook that finds its module in the running call.

    torch hands a module over by a weak reference to it, which is dead in a copy that is made out of arguments, as by classes that NVlabs'
    `persistence` decorates: such a copy cannot be copied, pickled or loaded into any more.
    """

    def __call__(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        del rest
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_name != "_load_from_state_dict":
            frame = frame.f_back
        assert frame is not None, "torch calls these hooks in a module's _load_from_state_dict"
        self.load(frame.f_locals["self"], state_dict, prefix)

    def load(self, module: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
        """state_dict, whose keys begin with prefix, is about to be loaded into module. May change it."""
        raise NotImplementedError


def before_loading(module: nn.Module, hook: LoadHook) -> Any:
    """Have hook called whenever a state_dict is loaded into module. Returns what takes it off again."""
    return module._register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]

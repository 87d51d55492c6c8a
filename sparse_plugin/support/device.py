"""The device that somebody names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.support.files import reason

if TYPE_CHECKING:
    import torch


def device_of(name: Any = None) -> torch.device:
    """The device called name, a torch.device too: by default CUDA where there is one, else the CPU.

    Raises ConfigError for one that does not exist, is not there, or holds no values (meta).
    """
    import torch

    if name is None or name == "":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if isinstance(name, bool) or not isinstance(name, (str, torch.device)):
            raise TypeError(f"a device is a name, and this is of type {type(name).__name__}")
        device = torch.device(name)
        if device.type == "meta":
            raise TypeError("it holds no values, so nothing can be computed there")
        float(torch.zeros(1, device=device))  # that it is there, and works
    except Exception as error:  # each backend that is missing raises one of its own
        raise ConfigError(
            f"the device is {str(name)!r}; give cpu, cuda or cuda:1, one that is there ({reason(error)[:120]})"
        ) from None
    return device


def whole_number(variable: str, default: int) -> int:
    """The value of an environment variable such as RANK. Raises ConfigError for one that is no number."""
    text = os.environ.get(variable) or str(default)
    if not text.strip().isdecimal():
        raise ConfigError(f"the environment variable {variable} is {text!r}; a launcher sets it to a number")
    return int(text)

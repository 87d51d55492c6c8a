"""The inserted dictionaries D2..DL of ML-CSC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Dictionary(nn.Module):
    """A linear, bias-free convolution Γ_(l-1) = D_l Γ_l that keeps channels and size and starts as the identity.

    Not an nn.Conv2d: hosts initialise those again, and wrap them, by their type or name.
    """

    def __init__(self, channels: int, kernel: Sequence[int]) -> None:
        super().__init__()
        with torch.inference_mode(False):  # a parameter that is made inside it could never be trained
            self.weight = nn.Parameter(torch.zeros(channels, channels, *kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew, as the identity."""
        centre: tuple[Any, ...] = (slice(None), slice(None), *(side // 2 for side in self.weight.shape[2:]))
        with torch.no_grad():
            self.weight.zero_()
            self.weight[centre] = torch.eye(len(self.weight), dtype=self.weight.dtype, device=self.weight.device)

    def _apply(self, fn: Any, recurse: bool = True) -> Dictionary:
        was_meta = self.weight.is_meta
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if (
            was_meta and not self.weight.is_meta
        ):  # to_empty() gives memory as it comes, and hosts know only their layers
            self.reset_parameters()
        return self

    def forward(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...) with as many spatial dimensions as the kernel. Returns the same shape."""
        kernel = self.weight.shape[2:]
        return _CONV[len(kernel)](gamma, self.weight, padding=tuple(side // 2 for side in kernel))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]} atoms of {'x'.join(map(str, self.weight.shape[2:]))}"


class Dictionaries(nn.ModuleDict):
    """D2..DL, by those names."""

    def __init__(self, levels: int, channels: int, kernel: Sequence[int]) -> None:
        super().__init__({f"D{level}": Dictionary(channels, kernel) for level in range(2, levels + 1)})

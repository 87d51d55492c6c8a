"""The projection of channel maps, by the kernels that there are for needles and for samples."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sparse_plugin.projections import eager


class _Kernels(Protocol):
    def l0_inf(self, gamma: Tensor, k: int) -> Tensor: ...
    def l0(self, gamma: Tensor, k: int) -> Tensor: ...


def l0_channel(kernels: _Kernels, gamma: Tensor, k: int, longest: int) -> Tensor:
    """`eager.l0_channel` for 1 <= k < positions, bit for bit.

    A channel map is a needle of (N, positions, C), which is a view of contiguous Γ and with channels last alike, and a
    sample of (N·C, positions). longest: up to how many positions it is taken as a needle.
    """
    maps = eager.maps(gamma)
    if maps.shape[2] <= longest:
        found = kernels.l0_inf(maps.transpose(1, 2), k).transpose(1, 2)
    else:
        found = kernels.l0(maps.flatten(0, 1), k).view(maps.shape)
    found = found.view(gamma.shape)
    if found.stride() == torch.empty_like(gamma, device="meta").stride():
        return found
    return torch.empty_like(gamma).copy_(found)

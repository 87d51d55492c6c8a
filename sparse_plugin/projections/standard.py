"""The projections in operators that every runtime has, for a program that is exported: it needs neither the plugin nor
its kernels where it runs. Batch and image may have any size then; the values are those of the kernels, bit for bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparse_plugin.projections.eager import largest, maps
from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.support.capture import sizes

_HALF = (torch.float16, torch.bfloat16)


def l0_inf(gamma: Tensor, k: int | float) -> Tensor:
    """`project_needles` of (N, C, ...)."""
    return _project(gamma, gamma, 1, k, sizes(gamma)[1])


def l0(gamma: Tensor, k: int | float) -> Tensor:
    """`project_global` of (N, ...)."""
    size = math.prod(sizes(gamma)[1:])  # numel() would make a constant of a symbol
    return _project(gamma, gamma.flatten(1), 1, k, size)


def l0_channel(gamma: Tensor, k: int | float) -> Tensor:
    """`project_channels` of (N, C, ...)."""
    return _project(gamma, maps(gamma), 2, k, math.prod(sizes(gamma)[2:]))


def _project(gamma: Tensor, along: Tensor, dim: int, k: int | float, size: int) -> Tensor:
    """Γ where it is among the k largest of the size entries of a dimension of along, which is Γ in another shape; +0 elsewhere."""
    count = resolve_k(k, size)
    # A size that is a symbol stays one: with as many places as entries all are kept anyway.
    if isinstance(size, int) and count >= size:
        return gamma
    # ONNX runtimes select in single precision and above; to widen a half changes no order.
    magnitude = along.detach().abs()
    kept = largest(magnitude.float() if gamma.dtype in _HALF else magnitude, count, dim)
    return torch.where(kept.view_as(gamma), gamma, torch.zeros((), dtype=gamma.dtype, device=gamma.device))

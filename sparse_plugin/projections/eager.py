"""The projections in plain torch operations: what every kernel equals bit for bit, and what runs where none does."""

from __future__ import annotations

import torch
from torch import Tensor


def l0_inf(gamma: Tensor, k: int) -> Tensor:
    """Keep the k entries of largest magnitude of every needle, the fibres of Γ along dimension 1.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  every needle of Γ' has at most k non-zeros  (arXiv 2104.00464, section 3)

    gamma: (N, C, ...), 0 <= k <= C. Returns the same shape, dtype and memory format.
    """
    return _select(gamma, largest(gamma.abs(), k, dim=1))


def l0(gamma: Tensor, k: int) -> Tensor:
    """Keep the k entries of largest magnitude of every sample, whatever its shape.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  ‖Γ'‖₀ <= k  (arXiv 2104.00464, section 3)

    gamma: (N, ...), 0 <= k <= the entries of a sample. Returns the same shape, dtype and memory format.
    """
    return _select(gamma, largest(gamma.flatten(1).abs(), k, dim=1).view(gamma.shape))


def l0_channel(gamma: Tensor, k: int) -> Tensor:
    """Keep the k entries of largest magnitude of every channel map of every sample.

    gamma: (N, C, ...), 0 <= k <= the positions of a map. Returns the same shape, dtype and memory format.
    """
    return _select(gamma, largest(maps(gamma).abs(), k, dim=2).view(gamma.shape))


def maps(gamma: Tensor) -> Tensor:
    """Γ as (N, C, positions), of which there is one where Γ is (N, C); a view wherever one can be."""
    return gamma.unsqueeze(-1).flatten(2)


def mask(grad: Tensor, projected: Tensor) -> Tensor:
    """The gradient where the projection kept a non-zero, +0 elsewhere: grad * (projected != 0), in one pass.

    grad and projected: the same shape. Returns the dtype and the memory format of `projected`.
    """
    return torch.where(projected != 0, grad, grad.new_zeros(()), out=torch.empty_like(projected))


def largest(magnitude: Tensor, k: int, dim: int) -> Tensor:
    """Which k entries along `dim` are the largest: NaN first, ties to the lowest index.

    `topk` says which magnitude is the k-th but not which of its equals it took, so those are counted again in index
    order. It never sees a NaN, which no two runtimes order alike: as infinity NaN is above all that is finite, and
    where NaN alone fills the k places the count of them says so.
    """
    if k == 0:
        return torch.zeros_like(magnitude, dtype=torch.bool)
    nan = magnitude.isnan()
    only_nan = nan.sum(dim, keepdim=True, dtype=torch.int32) >= k
    kth = magnitude.masked_fill(nan, torch.inf).topk(k, dim).values.narrow(dim, k - 1, 1)
    above = (magnitude > kth) | (nan & ~only_nan)
    level = (nan & only_nan) | ((magnitude == kth) & ~only_nan)
    room = k - above.sum(dim, keepdim=True, dtype=torch.int32)
    return above | (level & (level.cumsum(dim, dtype=torch.int32) <= room))


def _select(gamma: Tensor, kept: Tensor) -> Tensor:
    """Γ where `kept`, +0 elsewhere, in Γ's memory format (the format of an expanded Γ is that of its copy)."""
    return torch.where(kept, gamma, gamma.new_zeros(()), out=torch.empty_like(gamma))

"""How alike the columns of a convolutional dictionary are: the atoms of D1, and all copies of them shifted over Γ's grid.

Columns are compared where nothing of them is cut off by the image's border; their Gram matrix there depends on the two atoms and
on the shift between them alone, as the shifted mutual coherence of Papyan, Sulam & Elad 2017 does ("Working locally thinking globally",
arXiv 1607.02005). Nothing else is materialised.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor
from torch.nn import functional as F

from sparse_plugin.dictionary.operator import SynthesisOperator


def normalized_gram(operator: SynthesisOperator) -> Tensor:
    """Inner products of the normalized atoms with all shifted copies that overlap them: (C, C, 2J+1, ...), differentiable twice.

    Entry [c, d, J + j, ...] is that of atom c with atom d shifted by `steps(operator)` · j positions of Γ. At the middle, j = 0, of
    an atom with itself it is 1, or 0 for an atom that is all zero. In the precision of the atoms, float32 at least.
    """
    columns = _normalized(operator.atoms)
    jumps = _jumps(operator)
    reach = [(side - 1) // jump * jump for side, jump in zip(columns.shape[2:], jumps, strict=True)]
    shifted = F.pad(columns, [both for each in reversed(reach) for both in (each, each)])
    for axis, (side, jump) in enumerate(zip(columns.shape[2:], jumps, strict=True), 2):
        shifted = shifted.unfold(axis, side, jump)
    # Not a convolution, whose inner products are rounded to 10 bits on GPUs: (C, out, shifts..., sides...) x (C, out, sides...).
    dims = columns.dim() - 2
    shifts = shifted.shape[2 : 2 + dims]
    rows = shifted.movedim(1, 1 + dims).flatten(1 + dims).flatten(0, dims)
    return (rows @ columns.flatten(1).T).view(len(columns), *shifts, len(columns)).movedim(-1, 1)


def steps(operator: SynthesisOperator) -> tuple[int, ...]:
    """The shifts that matter, in positions of Γ and by axis, are the multiples of these: at others dilated atoms never meet."""
    return tuple(dilation // gcd(stride, dilation) for stride, dilation in zip(operator.stride, operator.dilation, strict=True))


def off_diagonal(gram: Tensor) -> Tensor:
    """The entries of a `normalized_gram` that compare two columns, 0 where one is compared with itself. The same shape."""
    shifts = gram.shape[2:]
    itself = torch.zeros(shifts, dtype=torch.bool, device=gram.device)
    itself[tuple(side // 2 for side in shifts)] = True
    same = torch.eye(len(gram), dtype=torch.bool, device=gram.device)
    return gram.masked_fill(same.view(*same.shape, *(1 for _ in shifts)) & itself, 0)


def mutual_coherence(operator: SynthesisOperator) -> Tensor:
    """μ, the largest magnitude of the inner product of two different normalized columns: a scalar in [0, 1], float64, no gradient.

    Columns of another atom and shifted copies of the same one count alike (Donoho & Elad 2003; of a convolutional dictionary Papyan,
    Sulam & Elad 2017). Columns that are zero count as orthogonal to all; 0 where no two columns overlap.
    """
    exact = SynthesisOperator(operator.atoms.detach().double(), operator.stride, operator.dilation)
    return off_diagonal(normalized_gram(exact)).abs().amax().clamp(max=1)


def coherence_energy(operator: SynthesisOperator) -> Tensor:
    """Σ (inner product)² over all pairs of an atom and another normalized column that overlaps it: a scalar, differentiable twice.

    It is the frame potential (Benedetto & Fickus 2003) of the columns, counted once a position of Γ, less the C that columns have
    with themselves: ‖G - I‖², 0 where all are orthogonal. In out · Π stride values of the image a position, C columns that are
    never zero are not below C² / (out · Π stride) - C.
    """
    return off_diagonal(normalized_gram(operator)).square().sum()


def _jumps(operator: SynthesisOperator) -> tuple[int, ...]:
    """The same in entries of an atom."""
    return tuple(stride // gcd(stride, dilation) for stride, dilation in zip(operator.stride, operator.dilation, strict=True))


def _normalized(atoms: Tensor) -> Tensor:
    """The atoms at norm 1, those that are zero as they are, whatever their scale."""
    atoms = atoms.to(torch.promote_types(atoms.dtype, torch.float32))
    flat = atoms.flatten(1)
    largest = flat.detach().abs().amax(1, keepdim=True)
    zero = largest == 0
    flat = flat.masked_fill(zero, 1) / largest.masked_fill(zero, 1)
    columns: Tensor = flat / torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return columns.masked_fill(zero, 0).view_as(atoms)

"""The bounds: how incoherent a dictionary of a shape can be, how sparse Γ has to be for its code to be unique, how stable it is then.

A convolutional dictionary has as columns all copies of its atoms that are shifted over Γ's grid. docs/theory.md has the
derivations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch

from sparse_plugin.dictionary.operator import SynthesisOperator

# Powers of the inner products whose means are compared: higher ones tell more where atoms are many and short.
_ORDERS = 16


def reach(operator: SynthesisOperator) -> list[list[int]]:
    """By axis, the shifts, in positions of Γ, at which two atoms share an entry of the signal; 0 is one of them."""
    found = []
    for side, stride, dilation in zip(operator.atoms.shape[2:], operator.stride, operator.dilation, strict=True):
        most = dilation * (side - 1) // stride
        found.append([shift for shift in range(-most, most + 1) if shift * stride % dilation == 0])
    return found


def least_coherence(operator: SynthesisOperator) -> float:
    """A lower bound of μ of every dictionary of this shape: as many atoms that are not zero, of these sides, stride and dilation.

    Welch's bound (1974), in its form for real vectors (Sidelnikov 1974), of the columns that lie in a rectangle of shifts, or on the
    smallest torus on which no two shifts meet twice, of which 1607.02005 has the one of stride 1, √((m - 1) / (m (2n - 1) - 1));
    the largest of all. Atoms that share their output channels, as those of a group, are a family of their own.
    """
    there = operator.atoms.detach().flatten(2).abs().amax(2) > 0  # (C, out)
    there = there[there.any(1)]
    families, sizes = torch.unique(there, dim=0, return_counts=True)
    kinds = {(int(count), int(family.sum())) for family, count in zip(families, sizes, strict=True)}
    kinds.add((len(there), int(there.any(0).sum())))
    return max(
        (_welch(count * copies, channels * entries) for count, channels in kinds for copies, entries in _rectangles(operator)),
        default=0.0,
    )


def _rectangles(operator: SynthesisOperator) -> Iterator[tuple[int, int]]:
    """Of families of shifts: how many there are, and how many entries of a channel they cover together."""
    axes: list[list[tuple[int, int]]] = []
    torus, circle = 1, 1
    for side, stride, dilation in zip(operator.atoms.shape[2:], operator.stride, operator.dilation, strict=True):
        jump = stride // math.gcd(stride, dilation)  # between copies that can meet, in entries of an atom
        around = 2 * ((side - 1) // jump) + 1
        axes.append([(copies, min(jump * (copies - 1) + side, copies * side)) for copies in range(1, around + 1)])
        torus, circle = torus * around, circle * max(jump * around, side) if jump <= side else circle * side
    yield torus, circle
    for chosen in product(*axes):
        yield math.prod(copies for copies, _ in chosen), math.prod(entries for _, entries in chosen)


def _welch(vectors: int, dimensions: int) -> float:
    """A lower bound of the largest inner product of so many real unit vectors in so many dimensions."""
    best, mean = 0.0, 1.0
    for order in range(1, _ORDERS + 1):
        # The mean of (2 order)-th powers of inner products is never less than over the whole sphere.
        mean *= (2 * order - 1) / (dimensions + 2 * order - 2)
        if vectors * mean > 1:
            best = max(best, ((vectors * mean - 1) / (vectors - 1)) ** (1 / (2 * order)))
    return best


def uniqueness_limit(coherence: float) -> float:
    """(1 + 1/μ)/2: Γ whose every stripe has fewer non-zeros is the sparsest code of its signal, and OMP and basis pursuit find it.

    Papyan, Sulam & Elad, arXiv 1607.02005. Infinite for μ = 0.
    """
    return math.inf if coherence == 0 else (1 + 1 / coherence) / 2


def stability_factor(fullest: int, coherence: float) -> float | None:
    """What 4ε²/(1 - (2‖Γ‖_0,inf - 1) μ) multiplies ε² by, with 4: ‖Γ - Γ'‖² is at most that times ε², for two codes as sparse as Γ
    whose signals are both within ε of one. None where the bound is void.

    Papyan, Sulam & Elad, arXiv 1607.02009. fullest: ‖Γ‖_0,inf, the non-zeros of the fullest stripe.
    """
    if fullest >= uniqueness_limit(coherence):
        return None
    return 4 / (1 - (2 * fullest - 1) * coherence)

"""One dictionary and the representation that it synthesizes from: what is measured of both, and which bounds hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from sparse_plugin.dictionary.coherence import normalized_gram, off_diagonal
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import SiteError
from sparse_plugin.theory import bounds
from sparse_plugin.theory.counts import Counts, effective_number

# Atoms whose normalized inner product is of this magnitude or larger, at any shift, are duplicates of each other.
DUPLICATE = 0.99
# Bars of a histogram at most.
BARS = 40


@dataclass(frozen=True)
class Layer:
    """One of D1, D2, ... DL, or D_eff.

    atoms: how many, of `shape` (channels of the signal, sides), laid out with `stride` and `dilation`; `zero` of them are zero,
    `duplicates` pairs of them alike up to sign and a shift. coherence: μ, over all shifts; least_coherence: what no dictionary of
    this shape is below. spark_at_most: so many columns are linearly dependent, None where the atoms of one needle do not tell.
    stripe_needles: needles of a stripe. stripes: (non-zeros, how many stripes), rising. needle: non-zeros of the fullest
    needle. per_value, most_per_value: non-zeros of Γ for a value of the signal, mean and largest of samples. never_used: atoms that no
    position uses. effective_atoms: see `effective_number`. cut: whether the border of the signal cuts atoms off. gap: of a deeper
    layer, ‖Γ_(l-1) - D_l Γ_l‖ / ‖D_l Γ_l‖, what the projection behind D_l takes away; None of the others.
    """

    name: str
    site: str
    atoms: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    zero: int
    duplicates: int
    coherence: float
    least_coherence: float
    spark_at_most: int | None
    stripe_needles: int
    stripes: tuple[tuple[int, int], ...]
    needle: int
    per_value: float
    most_per_value: float
    never_used: int
    effective_atoms: float
    samples: int
    cut: bool
    gap: float | None = None

    @property
    def fullest(self) -> int:
        """‖Γ‖_0,inf: the non-zeros of the fullest stripe."""
        return self.stripes[-1][0]

    @property
    def mean_stripe(self) -> float:
        """The non-zeros of a stripe, on average."""
        return sum(count * many for count, many in self.stripes) / sum(many for _, many in self.stripes)

    @property
    def limit(self) -> float:
        """Stripes need fewer non-zeros for the code to be unique by coherence."""
        return bounds.uniqueness_limit(self.coherence)

    @property
    def best_limit(self) -> float:
        """The same of the least coherent dictionary that this shape might allow."""
        return bounds.uniqueness_limit(self.least_coherence)

    @property
    def unique(self) -> bool:
        """Whether the bound of uniqueness holds for every sample that was counted."""
        return self.fullest < self.limit

    @property
    def stability(self) -> float | None:
        """See `bounds.stability_factor`."""
        return bounds.stability_factor(self.fullest, self.coherence)

    @property
    def within(self) -> float:
        """The share of stripes that have fewer non-zeros than the limit."""
        return sum(many for count, many in self.stripes if count < self.limit) / sum(many for _, many in self.stripes)

    def histogram(self) -> tuple[list[int], list[float]]:
        """Bars of stripes by their non-zeros: the edges, of which each bar has the first and not the last, and the shares."""
        low, high = self.stripes[0][0], self.fullest + 1
        width = max(1, math.ceil((high - low) / BARS))
        edges = list(range(low, high + width, width))
        total = sum(many for _, many in self.stripes)
        shares = [0.0] * (len(edges) - 1)
        for count, many in self.stripes:
            shares[(count - low) // width] += many / total
        while len(shares) > 1 and not shares[-1]:
            shares.pop(), edges.pop()
        return edges, shares

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON. What is infinite or void is None."""
        edges, shares = self.histogram()
        return {
            "name": self.name,
            "site": self.site,
            "atoms": {
                "count": self.atoms,
                "shape": list(self.shape),
                "stride": list(self.stride),
                "dilation": list(self.dilation),
                "zero": self.zero,
                "duplicate_pairs": self.duplicates,
                "never_used": self.never_used,
                "effective_number": self.effective_atoms,
                "cut_at_the_border": self.cut,
            },
            "coherence": {"mu": self.coherence, "least_of_this_shape": self.least_coherence, "spark_at_most": self.spark_at_most},
            "stripes": {
                "needles": self.stripe_needles,
                "fullest": self.fullest,
                "mean": self.mean_stripe,
                "histogram": {"edges": edges, "shares": shares},
            },
            "fullest_needle": self.needle,
            "nonzeros_per_value": {"mean": self.per_value, "most": self.most_per_value},
            "uniqueness": {
                "limit": _finite(self.limit),
                "limit_of_the_least_coherent": _finite(self.best_limit),
                "stripes_within": self.within,
                "holds": self.unique,
            },
            "stability": {"factor": self.stability, "holds": self.stability is not None},
            "projected_away": self.gap,
            "samples": self.samples,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@torch.no_grad()
def layer(
    name: str, site: str, operator: SynthesisOperator, counts: Counts, *, cut: bool, gap: float | None = None
) -> Layer:
    """What there is to say of a dictionary whose representation was counted. Raises SiteError for atoms that are not finite."""
    exact = SynthesisOperator(operator.atoms.detach().double(), operator.stride, operator.dilation)
    if not bool(exact.atoms.isfinite().all()):
        raise SiteError(
            f"{name} at {site} has weights that are no finite numbers, so that nothing can be said of its atoms; take weights from before "
            "training diverged"
        )
    alike = off_diagonal(normalized_gram(exact)).abs().flatten(2).amax(2)
    flat = exact.atoms.flatten(1)
    zero = int((flat == 0).all(1).sum())
    assert counts.usage is not None
    return Layer(
        name,
        site,
        len(flat),
        tuple(operator.atoms.shape[1:]),
        operator.stride,
        operator.dilation,
        zero,
        int((alike.triu(1) >= DUPLICATE).sum()),
        min(1.0, float(alike.amax())),
        bounds.least_coherence(operator),
        _spark(flat, zero),
        math.prod(len(shifts) for shifts in counts.reach),
        tuple((count, int(many)) for count, many in enumerate(counts.stripes) if many),
        counts.needle,
        sum(counts.nonzeros) / max(1, sum(counts.values)),
        max(nonzeros / max(1, values) for nonzeros, values in zip(counts.nonzeros, counts.values, strict=True)),
        int((counts.usage == 0).sum()),
        effective_number(counts.usage),
        counts.samples,
        cut,
        gap,
    )


def _spark(flat: torch.Tensor, zero: int) -> int | None:
    """So many of the atoms of one needle are linearly dependent; None where they may all be independent."""
    if zero:
        return 1
    rank = int(torch.linalg.matrix_rank(flat))
    return rank + 1 if rank < len(flat) else None

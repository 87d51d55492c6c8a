"""`Theory`: the report on a generator's dictionaries, as plain values and in words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sparse_plugin.theory.layer import Layer

_SUFFICIENT = (
    "the bounds are sufficient, and for the worst case: where one is void, Γ may be the only code as sparse of its signal all the same, "
    "and nothing here says that it is, or that it is not"
)


@dataclass(frozen=True)
class Theory:
    """What the theory says of one generator: a layer for D1, of ML-CSC for D2 .. DL too, and for D_eff = D1 D2 .. DL.

    target: which generator. regularizer: what is attached, as text. Of several heads there is a D1 for each.
    """

    target: str
    regularizer: str
    layers: tuple[Layer, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "target": self.target,
            "regularizer": self.regularizer,
            "layers": [layer.record() for layer in self.layers],
            "conclusions": self.conclusions(),
        }

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False)

    def to_text(self) -> str:
        """The report as lines for people: a block of numbers a layer, and under them what can and cannot be concluded."""
        lines = [f"{self.target}, {self.regularizer}, {self.layers[0].samples} samples"]
        for layer in self.layers:
            lines += ["", _title(layer), *(f"  {name:<42}{value}" for name, value in _rows(layer))]
        return "\n".join([*lines, "", *(f"- {said}" for said in self.conclusions())])

    def conclusions(self) -> list[str]:
        """Sentences: what holds, what is void, and what follows of neither."""
        found = [said for layer in self.layers for said in (*_uniqueness(layer), *_counting(layer), *_atoms(layer))]
        chain = [layer for layer in self.layers if layer.gap is not None]
        found += [_gap(layer) for layer in chain]
        if chain:
            found += list(_multilayer([each for each in self.layers if each.name != "D_eff"]))
        return [*found, _SUFFICIENT] if not all(layer.unique for layer in self.layers) else found


def number(value: float) -> str:
    """A number for people, as many digits as matter."""
    if not math.isfinite(value):
        return "∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _title(layer: Layer) -> str:
    out, *sides = layer.shape
    steps = "" if set(layer.stride) == {1} else f", stride {'x'.join(map(str, layer.stride))}"
    spread = "" if set(layer.dilation) == {1} else f", dilation {'x'.join(map(str, layer.dilation))}"
    return f"{layer.name} ({layer.site}): {layer.atoms} atoms of {'x'.join(map(str, [*sides, out]))}{steps}{spread}"


def _rows(layer: Layer) -> Iterator[tuple[str, str]]:
    yield "mutual coherence μ", f"{layer.coherence:.4f}; no dictionary of this shape is below {layer.least_coherence:.4f}"
    yield "‖Γ‖_0,inf, the fullest stripe", f"{layer.fullest:,}; mean {number(layer.mean_stripe)}, of {layer.stripe_needles} needles"
    yield "uniqueness needs every stripe below", (
        f"{number(layer.limit)} ({number(100 * layer.within)} % of stripes are): {'HOLDS' if layer.unique else 'VOID'}"
    )
    yield "the same of the least coherent D", number(layer.best_limit)
    factor = layer.stability
    yield "stability, ‖Γ - Γ'‖² <= factor · ε²", "VOID" if factor is None else f"HOLDS, factor {number(factor)}"
    yield f"non-zeros per {_value(layer)}", f"{number(layer.per_value)}; at most {number(layer.most_per_value)} in a sample"
    if layer.spark_at_most is not None:
        yield "spark, at most", f"{layer.spark_at_most:,}"
    yield "atoms in use", (
        f"{layer.atoms - layer.never_used} of {layer.atoms}, as if {number(layer.effective_atoms)} were used alike; {layer.zero} are "
        f"zero, {layer.duplicates} pairs are duplicates"
    )


def _value(layer: Layer) -> str:
    """What there is an equation for."""
    return "non-zero of the level below" if layer.gap is not None else "pixel value"


def _uniqueness(layer: Layer) -> Iterator[str]:
    if layer.unique:
        border = "; atoms that the border cuts off are not in μ, so this is said of what is away from the border" if layer.cut else ""
        radius = number(math.sqrt(layer.stability or 0))
        yield (
            f"{layer.name}: the bound of uniqueness HOLDS for these samples: every stripe has at most {layer.fullest:,} non-zeros, fewer "
            f"than {number(layer.limit)}, so that Γ is the sparsest code of its signal in ‖·‖_0,inf, and OMP and basis pursuit find it; "
            f"and of a signal that is within ε of Γ's, whatever code as sparse comes to within ε of it is within {radius} ε of Γ{border}"
        )
        return
    best = (
        f"no dictionary of this shape could make it hold either, since none allows {number(layer.best_limit)} or more"
        if layer.fullest >= layer.best_limit
        else f"one as incoherent as the lower bound of this shape, if there is one, would allow fewer than {number(layer.best_limit)}"
    )
    yield (
        f"{layer.name}: the bounds of uniqueness and stability are VOID here: they need fewer than {number(layer.limit)} non-zeros in "
        f"every stripe, and the fullest has {layer.fullest:,} ({number(100 * layer.within)} % of stripes are below); {best}"
    )
    spark = layer.spark_at_most
    if spark is not None and 2 * layer.fullest >= spark > 2:
        yield (
            f"{layer.name}: nor can a bound by the spark hold: {spark} of the {layer.atoms} atoms of one needle are linearly dependent, so "
            f"that the spark is at most {spark}, and stripes would need fewer than half as many non-zeros"
        )


def _counting(layer: Layer) -> Iterator[str]:
    most = layer.most_per_value
    start = f"{layer.name}: {number(layer.per_value)} non-zeros per {_value(layer)} (at most {number(most)})"
    if most > 1:
        yield (
            f"{start}: above 1 there are more unknowns than equations, so that Γ cannot be told from its signal by linear algebra even "
            "where it is known which coefficients are not zero"
        )
    elif most >= 0.5:
        yield (
            f"{start}: no more unknowns than equations, so that counting does not exclude that Γ can be computed where it is known which "
            "coefficients are not zero; for uniqueness among all codes as sparse, counting asks for less than 1/2 in every sample"
        )
    else:
        yield (
            f"{start}: less than 1/2, so that counting does not exclude uniqueness among all codes as sparse; it would follow of a "
            "dictionary of which any so many columns are independent, and no convolutional one is known to be that"
        )


def _atoms(layer: Layer) -> Iterator[str]:
    if layer.never_used or layer.zero or layer.duplicates:
        yield (
            f"{layer.name}: {layer.never_used} of {layer.atoms} atoms are dead (these samples never use them), {layer.zero} are zero, and "
            f"{layer.duplicates} pairs are the same up to sign and a shift (|cos| >= 0.99)"
        )


def _gap(layer: Layer) -> str:
    below = int(layer.name.partition(" ")[0][1:]) - 1
    return (
        f"Γ_{below} is {layer.name} Γ_{below + 1} projected, and the projection takes away {number(100 * (layer.gap or 0))} % of it in "
        "norm: the theorems of ML-CSC are of signals for which it takes away nothing"
    )


def _multilayer(layers: Sequence[Layer]) -> Iterator[str]:
    void = [layer.name for layer in layers if not layer.unique]
    if void:
        yield f"ML-CSC: the bound of every layer has to hold, and that of {', '.join(void)} is VOID, so nothing follows for all together"
        return
    factor = math.prod(layer.stability or 0 for layer in layers)
    yield (
        "ML-CSC: the bounds HOLD layer by layer: if the projections between them took away nothing, Γ_1 to Γ_L would be the only "
        f"representations as sparse, and an image known up to ε would tell Γ_{len(layers)} up to {number(math.sqrt(factor))} ε"
    )

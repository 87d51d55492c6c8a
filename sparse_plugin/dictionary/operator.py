"""The synthesis operator: what D1 really applies to Γ, as atoms."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SynthesisOperator:
    """What a module really applies to Γ: its atoms, and how they are laid out.

    A unit coefficient of channel c at position p paints atom c at stride · p, its entries dilation apart.
    """

    atoms: Tensor  # (C, out, ...): what one unit coefficient of each channel adds to the output
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

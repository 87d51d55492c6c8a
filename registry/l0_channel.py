"""The projection of channel maps: top-k over positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.registry.base import Appearance, Constraint, Ks

if TYPE_CHECKING:
    from torch import Tensor


class L0Channel(Constraint):
    """Keep the k coefficients of largest magnitude of every channel map of each sample's Γ, zero the rest.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  every channel map of every sample of Γ' has at most k non-zeros

    It is the operator of TopKGen (Li et al., NeurIPS 2023, arXiv 2310.18894), here so that it can be compared with L0 and
    L0,inf: they let channels compete, this lets the positions of a channel. k: an integer counts, a float in (0, 1] is a
    fraction of H·W, of which never more is kept; a list has one for each Γ_1, Γ_2, ... There is no default: no sweep has
    looked for one.
    """

    k: Ks = Field(
        description="k, the coefficients that each channel map keeps: an integer counts, a float in (0, 1] is a fraction"
    )

    listed = ("k",)
    appearance = Appearance("L0 a channel", "#0072B2", 4)

    def project(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...), any float dtype and memory format. Same shape, dtype and format; ties go to the lowest position."""
        from sparse_plugin.projections import project_channels

        return project_channels(gamma, self._one("k"))

    def slack(self, channels: int, size: int | None) -> str:
        """An integer k of H·W or more."""
        k, positions = self._one("k"), size // channels if size else 0
        binds = not positions or not isinstance(k, int) or k < positions
        return "" if binds else f"k = {k} keeps all {positions} coefficients of a channel map"

    def holds(self, gamma: Tensor) -> bool:
        """At most k non-zeros in every channel map."""
        from sparse_plugin.projections.eager import maps

        size = gamma.shape[2:].numel()
        return not gamma.numel() or int(maps(gamma != 0).sum(2).max()) <= resolve_k(self._one("k"), size)

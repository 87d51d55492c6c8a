"""The L0 projection."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.registry.base import Appearance, Constraint, Ks

if TYPE_CHECKING:
    from torch import Tensor


class L0(Constraint):
    """Keep the k coefficients of largest magnitude of each sample's Γ, zero the rest.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  ‖Γ'‖₀ <= k  (paper, section 3, (2))

    k: an integer counts, a float in (0, 1] is a fraction of C·H·W, of which never
    more is kept; a list has one for each Γ_1, Γ_2, ...
    """

    k: Ks = Field(
        description="k, the coefficients that each sample keeps: an integer counts, a float in (0, 1] is a fraction"
    )

    listed = ("k",)
    # docs/results.md has the sweeps that found them: of a DCGAN, and of Deep Image Prior.
    defaults: ClassVar[dict[str, float]] = {"k": 0.25}
    encoder_defaults: ClassVar[dict[str, float]] = {"k": 0.25}
    appearance = Appearance("L0", "#56B4E9", 1)

    def project(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...), any float dtype and memory format. Same shape, dtype and format; ties go to the lowest index."""
        from sparse_plugin.projections import project_global

        return project_global(gamma, self._one("k"))

    def slack(self, channels: int, size: int | None) -> str:
        """An integer k of a sample's size or more."""
        k = self._one("k")
        return f"k = {k} keeps all {size} coefficients of a sample" if size and isinstance(k, int) and k >= size else ""

    def holds(self, gamma: Tensor) -> bool:
        """At most k non-zeros in every sample."""
        size = gamma[0].numel() if len(gamma) else 0
        return not size or int((gamma != 0).flatten(1).sum(1).max()) <= resolve_k(self._one("k"), size)

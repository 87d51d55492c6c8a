"""The L0,inf projection: the needle relaxation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.registry.base import Appearance, Constraint, Ks

if TYPE_CHECKING:
    from torch import Tensor


class L0Inf(Constraint):
    """Keep the k coefficients of largest magnitude of every needle, zero the rest.

    P(Γ) = argmin ‖Γ - Γ'‖₂  s.t.  every needle of Γ' has at most k non-zeros  (paper, section 3, (3))

    A needle is the 1x1xC fibre of Γ at one spatial position. k: an integer counts, a float in (0, 1] is a fraction of C,
    of which never more is kept; a list has one for each Γ_1, Γ_2, ...
    """

    k: Ks = Field(
        description="k, the coefficients that each needle keeps: an integer counts, a float in (0, 1] is a fraction"
    )

    listed = ("k",)
    # docs/results.md has the sweeps that found them: of a DCGAN, and of Deep Image Prior.
    defaults: ClassVar[dict[str, float]] = {"k": 0.25}
    encoder_defaults: ClassVar[dict[str, float]] = {"k": 0.1}
    appearance = Appearance("L0,∞", "#D55E00", 2)

    def project(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...), any float dtype and memory format. Same shape, dtype and format; ties go to the lowest channel."""
        from sparse_plugin.projections import project_needles

        return project_needles(gamma, self._one("k"))

    def slack(self, channels: int, size: int | None) -> str:
        """An integer k of C or more."""
        k = self._one("k")
        return f"k = {k} keeps all {channels} coefficients of a needle" if isinstance(k, int) and k >= channels else ""

    def holds(self, gamma: Tensor) -> bool:
        """At most k non-zeros in every needle."""
        return not gamma.numel() or int((gamma != 0).sum(1).max()) <= resolve_k(self._one("k"), gamma.shape[1])

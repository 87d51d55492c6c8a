"""The L1 penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sparse_plugin.registry.base import Appearance, Penalty, Weight

if TYPE_CHECKING:
    from torch import Tensor
class L1(Penalty):
    """weight · mean |Γ|, added to the generator's loss (paper, section 3, (1)).

    weight: λ >= 0, or a list of one for each Γ_1, Γ_2, ... reduction: "mean" over all entries (the default), or "sum" over
    one sample's entries and mean over the batch, which is the paper's ||Γ||₁ of a sample.
    """

    weight: Weight | list[Weight] = Field(description="weight, the λ of the penalty, 0 or more")
    reduction: Literal["mean", "sum"] = "mean"

    listed = ("weight",)
    # docs/results.md has the sweeps that found them: of a DCGAN.
    defaults: ClassVar[dict[str, float]] = {"weight": 10.0}
    appearance = Appearance("L1", "#E69F00", 0)

    def penalty(self, gamma: Tensor) -> Tensor:
        """weight · mean |Γ|. gamma: (N, C, ...). Returns a scalar."""
        from torch.linalg import vector_norm

        # The norm reads Γ once; abs() would write it out again.
        count = gamma.numel() if self.reduction == "mean" else gamma.shape[0]
        term: Tensor = vector_norm(gamma, 1) * (self._one("weight") / max(1, count))
        return term

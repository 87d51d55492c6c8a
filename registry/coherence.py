"""The penalty on the coherence of D1's atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sparse_plugin.registry.base import Appearance, AtomPenalty, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from sparse_plugin.dictionary.operator import SynthesisOperator


class Coherence(AtomPenalty):
    """weight · ‖G - I‖²_F a position, added to the generator's loss: the columns of the dictionary D1 are pushed apart.

    G is the Gram matrix of the normalized columns: all atoms, and all copies of them shifted over the grid of Γ. It is the orthogonal
    regularization of BigGAN (Brock et al. 2019, arXiv 1809.11096, section 3.1, β ‖WᵀW ⊙ (1 - I)‖²_F with β = 1e-4) of the columns that D1
    really lays over one another, normalized because how large atoms are is not what is meant; and the frame potential of Benedetto &
    Fickus 2003. See `sparse_plugin.dictionary.coherence`.

    weight: 0 or more, or a list of one for each Γ_1, Γ_2, ..., whose dictionaries are then meant.
    """

    weight: Weight | list[Weight] = Field(description="weight, the factor of the penalty, 0 or more")

    listed = ("weight",)
    defaults: ClassVar[dict[str, float]] = {"weight": 1e-4}  # Brock et al. 2019; no sweep here has looked for one
    appearance = Appearance("Coherence", "#999999", 6)

    def of_atoms(self, operator: SynthesisOperator) -> Tensor:
        """weight · ‖G - I‖²_F a position. Returns a scalar."""
        from sparse_plugin.dictionary.coherence import coherence_energy

        term: Tensor = coherence_energy(operator) * self._one("weight")
        return term

    def measures(self, operator: SynthesisOperator) -> dict[str, Tensor]:
        """μ, the largest magnitude off the diagonal of G."""
        from sparse_plugin.dictionary.coherence import mutual_coherence

        return {"mutual_coherence": mutual_coherence(operator)}

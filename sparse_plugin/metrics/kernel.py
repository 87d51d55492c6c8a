"""The kernel distance: KID on the features of Inception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparse_plugin.metrics.metric import SEED, Metric, Score

if TYPE_CHECKING:
    from torch import Tensor

# As in torch-fidelity, whose defaults these are.
SUBSETS, SUBSET = 100, 1000


class KernelDistance(Metric):
    """See `kernel`."""

    title, rows, called = "KID", {"KID": "lower"}, {"inception": "KID"}
    over_steps, by_default, order, package = True, True, 1, "torch-fidelity"
    subset: int = SUBSET

    def least(self, dimensions: int) -> tuple[int, str]:
        """As many as a subset has."""
        return self.subset, f"it is the mean over subsets of {self.subset} images; a smaller subset size can be asked for"

    def measure(self, generated: Tensor, real: Any) -> dict[str, Score]:
        """The distance."""
        return {"KID": kernel(generated, real, self.subset)}

    def protocol(self, generated: int, real: int) -> dict[str, str]:
        """The kernel, the subsets and the seed that draws them."""
        return {
            "kernel distance": f"kernel (x·y/D + 1)^3, unbiased, mean ± deviation over {SUBSETS} subsets of {self.subset} "
            f"images, seed {SEED}"
        }


def kernel(generated: Tensor, real: Tensor, subset: int = SUBSET) -> Score:
    """The squared maximum mean discrepancy under the kernel (x·y / D + 1)³ (Bińkowski et al., arXiv 1801.01401): the
    mean over 100 random subsets, by torch-fidelity. Unbiased: about zero, from either side, for independent samples of
    one distribution; below zero for sets that share images.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    found = kid_features_to_metric(
        generated, real, kid_subsets=SUBSETS, kid_subset_size=subset, rng_seed=SEED, verbose=False
    )
    return Score(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])

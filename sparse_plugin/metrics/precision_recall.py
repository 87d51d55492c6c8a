"""Precision and recall of generated images, by nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparse_plugin.metrics.metric import Metric, Score

if TYPE_CHECKING:
    from torch import Tensor

# As in torch-fidelity, whose default it is.
NEIGHBOURS = 3

# Every image is compared with every other: of more than these, so many are drawn.
MOST = 5_000


class PrecisionRecall(Metric):
    """See `precision_recall`."""

    title, rows = "PR", {"precision": "higher", "recall": "higher"}
    by_default, order, package = True, 3, "torch-fidelity"

    def least(self, dimensions: int) -> tuple[int, str]:
        """One more than the neighbours that are looked at."""
        return NEIGHBOURS + 1, f"it looks at {NEIGHBOURS} neighbours of every image"

    def measure(self, generated: Tensor, real: Any) -> dict[str, Score]:
        """Both of them."""
        precision, recall = precision_recall(generated, real)
        return {"precision": precision, "recall": recall}

    def protocol(self, generated: int, real: int) -> dict[str, str]:
        """The neighbours, and how many images are compared."""
        return {
            "precision, recall": f"{NEIGHBOURS} neighbours, {min(generated, MOST)} generated and {min(real, MOST)} real images"
        }


def precision_recall(generated: Tensor, real: Tensor) -> tuple[Score, Score]:
    """Precision: the fraction of generated images that lie within the distance of a real image to its third neighbour
    among the real ones. Recall: the same with the roles changed (Kynkäänniemi et al., arXiv 1904.06991). By
    torch-fidelity, on at most 5,000 images of each, drawn at random.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    from sparse_plugin.metrics.drawn import drawn

    found = prc_features_to_metric(
        drawn(generated, MOST),
        drawn(real, MOST),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=2000,
        save_cpu_ram=True,
        verbose=False,
    )
    return Score(found[KEY_METRIC_PRECISION]), Score(found[KEY_METRIC_RECALL])

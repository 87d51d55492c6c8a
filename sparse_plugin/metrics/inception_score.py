"""The Inception score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparse_plugin.metrics.metric import SEED, Metric, Score

if TYPE_CHECKING:
    from torch import Tensor

# As in torch-fidelity, whose default it is.
SPLITS = 10


class InceptionScore(Metric):
    """See `inception_score`; of generated images alone."""

    title, rows, called, only = "IS", {"IS": "higher"}, {"inception": "IS"}, ("inception",)
    of_logits, by_default, order, package = True, True, 2, "torch-fidelity"

    def least(self, dimensions: int) -> tuple[int, str]:
        """One a split."""
        return SPLITS, f"it is the mean over {SPLITS} splits"

    def measure(self, generated: Tensor, real: Any) -> dict[str, Score]:
        """The score, of logits."""
        return {"IS": inception_score(generated)}

    def protocol(self, generated: int, real: int) -> dict[str, str]:
        """The splits and the seed that shuffles before them."""
        return {"inception score": f"mean ± deviation over {SPLITS} splits, seed {SEED}"}


def inception_score(logits: Tensor) -> Score:
    """exp of the mean Kullback-Leibler divergence between an image's classes, of logits (N, C), and the mean over all
    (Salimans et al., arXiv 1606.03498); over 10 splits of the shuffled images, by torch-fidelity.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(logits, SPLITS, True, SEED)
    return Score(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])

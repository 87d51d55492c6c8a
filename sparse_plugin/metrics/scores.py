"""The metrics: what each is measured on, how many images it needs, and torch-fidelity's arithmetic for it.

Generated features always stand first, real ones second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from sparse_plugin.errors import ConfigError, SparsePluginError, one_of

# As in torch-fidelity, whose defaults these are.
SEED = 2020
KID_SUBSETS, KID_SUBSET = 100, 1000
SPLITS = 10
NEIGHBOURS = 3

# Precision and recall compare every image with every other: of more than these, so many are drawn.
MOST_NEIGHBOURS = 5_000


class MetricError(SparsePluginError, ValueError):
    """A metric that cannot be measured on what was given."""


@dataclass(frozen=True)
class Score:
    """A value, and the standard deviation over the subsets or splits that it is the mean of, where there are any."""

    value: float
    deviation: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.5g}" + ("" if self.deviation is None else f" ± {self.deviation:.2g}")


@dataclass(frozen=True)
class Metric:
    """One row or two of a report. extractor: whose features it is measured on; kind: its arithmetic."""

    extractor: Literal["lite0", "inception"]
    kind: Literal["frechet", "kernel", "inception score", "precision and recall"]
    better: Literal["lower", "higher"]


METRICS = {
    "FID": Metric("inception", "frechet", "lower"),
    "KID": Metric("inception", "kernel", "lower"),
    "IS": Metric("inception", "inception score", "higher"),
    "PR-inception": Metric("inception", "precision and recall", "higher"),
    "FD-lite0": Metric("lite0", "frechet", "lower"),
    "KID-lite0": Metric("lite0", "kernel", "lower"),
    "PR-lite0": Metric("lite0", "precision and recall", "higher"),
}


def named(names: Iterable[str]) -> dict[str, Metric]:
    """The metrics of these names, in any case. Raises ConfigError for one that there is not."""
    known = {name.lower(): name for name in METRICS}
    found = {}
    for name in names:
        if name.lower() not in known:
            raise ConfigError(one_of("metric", name, METRICS))
        found[known[name.lower()]] = METRICS[known[name.lower()]]
    return found


def needed(name: str, metric: Metric, dimensions: int, kid_subset: int) -> tuple[int, str]:
    """How many images a metric needs, and why."""
    if metric.kind == "frechet":
        return dimensions + 1, f"a covariance of {dimensions} features needs more images than that"
    if metric.kind == "kernel":
        return kid_subset, f"it is the mean over subsets of {kid_subset} images; a smaller subset size can be asked for"
    if metric.kind == "inception score":
        return SPLITS, f"it is the mean over {SPLITS} splits"
    return NEIGHBOURS + 1, f"it looks at {NEIGHBOURS} neighbours of every image"


def frechet(generated: Tensor, real: Tensor) -> Score:
    """The Fréchet distance between the Gaussians of two sets of features, (N, D) and (M, D).

    ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)  (Heusel et al., arXiv 1706.08500)

    By torch-fidelity 0.4, in float64, from the eigenvalues of Σ₁ Σ₂: of those that rounding made negative or complex, as
    with fewer images than features, the real part of the root is taken, so that the distance is real and finite.
    """
    return frechet_of(moments(generated), moments(real))


def moments(features: Tensor) -> Any:
    """What `frechet_of` takes of a set of features, (N, D): of the real ones, to be computed once."""
    from torch_fidelity.metric_fid import fid_features_to_statistics

    return fid_features_to_statistics(features)


def frechet_of(generated: Any, real: Any) -> Score:
    """`frechet` of two sets by their moments."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return Score(fid_statistics_to_metric(generated, real, verbose=False)[KEY_METRIC_FID])


def kernel(generated: Tensor, real: Tensor, subset: int = KID_SUBSET) -> Score:
    """The squared maximum mean discrepancy under the kernel (x·y / D + 1)³ (Bińkowski et al., arXiv 1801.01401): the
    mean over 100 random subsets, by torch-fidelity. Unbiased: about zero, from either side, for independent samples of
    one distribution; below zero for sets that share images.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    found = kid_features_to_metric(
        generated, real, kid_subsets=KID_SUBSETS, kid_subset_size=subset, rng_seed=SEED, verbose=False
    )
    return Score(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])


def inception_score(logits: Tensor) -> Score:
    """exp of the mean Kullback-Leibler divergence between an image's classes, of logits (N, C), and the mean over all
    (Salimans et al., arXiv 1606.03498); over 10 splits of the shuffled images, by torch-fidelity.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(logits, SPLITS, True, SEED)
    return Score(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])


def precision_recall(generated: Tensor, real: Tensor) -> tuple[Score, Score]:
    """Precision: the fraction of generated images that lie within the distance of a real image to its third neighbour
    among the real ones. Recall: the same with the roles changed (Kynkäänniemi et al., arXiv 1904.06991). By
    torch-fidelity, on at most 5,000 images of each, drawn at random.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        drawn(generated, MOST_NEIGHBOURS),
        drawn(real, MOST_NEIGHBOURS),
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=2000,
        save_cpu_ram=True,
        verbose=False,
    )
    return Score(found[KEY_METRIC_PRECISION]), Score(found[KEY_METRIC_RECALL])


def drawn(items: Tensor, most: int) -> Tensor:
    """At most so many of the items, drawn without replacement, in their order; always the same ones."""
    if len(items) <= most:
        return items
    chosen = np.random.RandomState(SEED).permutation(len(items))[:most]
    return items[np.sort(chosen)]

"""`Evaluator`: several metrics of generated images against real ones, prepared once and measured often."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.data import Images
from sparse_plugin.errors import ConfigError
from sparse_plugin.metrics import scores
from sparse_plugin.metrics.extractors import Extractor, Features, Inception, Lite0
from sparse_plugin.metrics.features import extract, of_real
from sparse_plugin.metrics.scores import KID_SUBSET, Metric, MetricError, Score
from sparse_plugin.metrics.weights import INCEPTION, inception_weights
from sparse_plugin.support.device import device_of
from sparse_plugin.support.optional import need
from sparse_plugin.support.progress import busy


class Evaluator:
    """Measures metrics of generated images against real ones.

    metrics: names in METRICS, in any case; by default FID, KID, IS and PR-inception where the Inception weights are at
    hand, else FD-lite0, KID-lite0 and PR-lite0, which need no download. inception: their file; by default that in
    $SPARSE_PLUGIN_INCEPTION. kid_subset: images in a subset of the kernel distance, by default 1000. cache: where real features are kept.
    device: where features are computed; by default a GPU where there is one.

    All that can be refused is refused here, before anything is trained, sampled or computed: ConfigError for an unknown
    metric, a missing package, weights that are missing or have another hash.
    """

    def __init__(
        self,
        metrics: Iterable[str] = (),
        *,
        inception: str | os.PathLike[str] | None = None,
        kid_subset: int | None = None,
        cache: Path | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        need("measuring a distance", "metrics", "torch_fidelity", "torchvision")
        if kid_subset is not None and kid_subset < 2:
            raise ConfigError(f"a subset of the kernel distance has {kid_subset} images; it takes 2 or more")
        weights = inception_weights(inception)
        self.metrics = scores.named(metrics) or {
            name: metric
            for name, metric in scores.METRICS.items()
            if metric.extractor == ("lite0" if weights is None else "inception")
        }
        self._all_have_effect(inception, kid_subset)
        self.kid_subset, self.cache = KID_SUBSET if kid_subset is None else kid_subset, cache
        self.extractors: dict[str, Extractor] = {}
        self._known: dict[tuple[str, str], Tensor] = {}
        self._moments: dict[tuple[str, str], Any] = {}
        place = device_of(device)
        for name, metric in self.metrics.items():
            if metric.extractor in self.extractors:
                continue
            if metric.extractor == "inception" and weights is None:
                raise ConfigError(
                    f"{name} needs the Inception weights, which are not downloaded: give their file "
                    f"(weights-inception-2015-12-05-6726825d.pth of torch-fidelity) or set {INCEPTION}; "
                    "FD-lite0 and KID-lite0 need no file"
                )
            made = Lite0() if weights is None or metric.extractor == "lite0" else Inception(weights)
            self.extractors[metric.extractor] = made.to(place).eval()

    def _all_have_effect(self, inception: str | os.PathLike[str] | None, kid_subset: int | None) -> None:
        """Raise ConfigError for a setting that none of the metrics reads."""
        asked = ", ".join(self.metrics)
        if kid_subset is not None and all(metric.kind != "kernel" for metric in self.metrics.values()):
            raise ConfigError(
                f"a subset of {kid_subset} images is of kernel distances, and what is measured is {asked}; leave it out"
            )
        if inception is not None and all(metric.extractor != "inception" for metric in self.metrics.values()):
            raise ConfigError(
                f"the Inception weights {inception} are given, and what is measured is {asked}; leave them out"
            )

    def check(self, generated: int, real: int) -> None:
        """Raise MetricError where so many images are fewer than a metric needs."""
        for name, metric in self.metrics.items():
            least, why = scores.needed(name, metric, self.extractors[metric.extractor].dimensions, self.kid_subset)
            for count, which in ((generated, "generated"), (real, "real")):
                if count < least and not (which == "real" and metric.kind == "inception score"):
                    raise MetricError(
                        f"{name} needs {least} {which} images and there are {count}: {why}; give more, or ask for other metrics"
                    )

    def score(self, generated: Tensor, real: Images) -> dict[str, Score]:
        """The scores of generated images, (N, 3, H, W), uint8, against real ones of the same size, by the names of
        what was measured. Real images' features are computed once and kept on disk.

        Raises MetricError where there are too few images, or images of two sizes.
        """
        return self.score_against(generated, {"": real})

    def score_against(
        self, generated: Tensor, reals: Mapping[str, Images], kinds: Collection[str] = ()
    ) -> dict[str, Score]:
        """As `score`, against several sets of real images, whose names stand after those of what was measured
        ("FD-lite0 test"); the generated images' features are computed once for all.

        kinds: of metrics, by default all; inception scores, which need no real images, are of the first set alone.
        """
        for real in reals.values():
            self._fits(generated, real)
        found: dict[str, Score] = {}
        extracted = {name: extract(made, generated, "generated images") for name, made in self.extractors.items()}
        for number, (which, real) in enumerate(reals.items()):
            for name, metric in self.metrics.items():
                if (kinds and metric.kind not in kinds) or (number and metric.kind == "inception score"):
                    continue
                measured = self._measure(name, metric, extracted[metric.extractor], real)
                found |= {f"{key} {which}".rstrip(): score for key, score in measured.items()}
        return found

    def _fits(self, generated: Tensor, real: Images) -> None:
        self.check(len(generated), len(real))
        if tuple(generated.shape[2:]) != real.size:
            raise MetricError(
                f"the generated images are {_by(generated.shape[2:])} and {real.name} is {_by(real.size)}; load the data at "
                "the generator's size"
            )

    def _measure(self, name: str, metric: Metric, generated: Features, real: Images) -> dict[str, Score]:
        features, logits = generated
        if metric.kind == "inception score":
            assert logits is not None  # only networks with classes offer it
            return {name: scores.inception_score(logits)}
        theirs = self._real(metric.extractor, real)
        with busy(name):
            if metric.kind == "frechet":
                key = (metric.extractor, real.fingerprint)
                if key not in self._moments:
                    self._moments[key] = scores.moments(theirs)
                return {name: scores.frechet_of(scores.moments(features), self._moments[key])}
            if metric.kind == "kernel":
                return {name: scores.kernel(features, theirs, self.kid_subset)}
            precision, recall = scores.precision_recall(features, theirs)
        return {f"precision-{metric.extractor}": precision, f"recall-{metric.extractor}": recall}

    def _real(self, extractor: str, real: Images) -> Tensor:
        key = (extractor, real.fingerprint)
        if key not in self._known:
            self._known[key] = of_real(self.extractors[extractor], real, self.cache)
        return self._known[key]

    def protocol(self, generated: int, real: Images) -> dict[str, str]:
        """What the scores of so many generated images depend on, in words, and has to stand beside them."""
        kinds = {metric.kind for metric in self.metrics.values()}
        lines = {
            "generated": f"{generated} images of {_by(real.size)}",
            "real": f"{len(real)} images: {real.name} (sha256 {real.fingerprint[:16]})",
            **{f"features {name}": made.protocol for name, made in self.extractors.items()},
        }
        if "kernel" in kinds:
            lines["kernel distance"] = (
                f"kernel (x·y/D + 1)^3, unbiased, mean ± deviation over {scores.KID_SUBSETS} subsets of {self.kid_subset} "
                f"images, seed {scores.SEED}"
            )
        if "inception score" in kinds:
            lines["inception score"] = f"mean ± deviation over {scores.SPLITS} splits, seed {scores.SEED}"
        if "precision and recall" in kinds:
            most = scores.MOST_NEIGHBOURS
            lines["precision, recall"] = (
                f"{scores.NEIGHBOURS} neighbours, {min(generated, most)} generated and {min(len(real), most)} real images"
            )
        lines["arithmetic"] = f"torch-fidelity {version('torch-fidelity')}"
        return lines


def _by(size: Sequence[int]) -> str:
    height, width = size
    return f"{width}x{height}"

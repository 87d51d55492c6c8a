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
from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.metrics import fidelity, tables
from sparse_plugin.metrics.extractor import Extractor, Features, Given, given, make
from sparse_plugin.metrics.features import extract, of_real
from sparse_plugin.metrics.metric import Metric, MetricError, Score
from sparse_plugin.metrics.tables import EXTRACTORS, METRICS, Asked
from sparse_plugin.support.device import device_of
from sparse_plugin.support.optional import need
from sparse_plugin.support.progress import busy

# Whose metrics are measured where nobody says what: those of the first whose weights are at hand.
DEFAULTS = ("inception", "lite0")


class Evaluator:
    """Measures metrics of generated images against real ones.

    metrics: names such as FID or FD-lite0, in any case (see `tables.names`); by default FID, KID, IS and PR-inception where
    the Inception weights are at hand, else FD-lite0, KID-lite0 and PR-lite0, which need no download. weights: files of
    extractors' weights, by the extractors' names; inception: that of "inception". By default those in the environment,
    $SPARSE_PLUGIN_INCEPTION among them. kid_subset: images in a subset of the kernel distance, by default 1000. cache:
    where real features are kept. device: where features are computed; by default a GPU where there is one.

    All that can be refused is refused here, before anything is trained, sampled or computed: ConfigError for an unknown
    metric, a missing package, weights that are missing or have another hash.
    """

    def __init__(
        self,
        metrics: Iterable[str] = (),
        *,
        inception: str | os.PathLike[str] | None = None,
        weights: Given | None = None,
        kid_subset: int | None = None,
        cache: Path | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        need("measuring a distance", "metrics", "torch_fidelity", "torchvision")
        if kid_subset is not None and kid_subset < 2:
            raise ConfigError(f"a subset of the kernel distance has {kid_subset} images; it takes 2 or more")
        files = _files(inception, weights)
        usual = _usual(files)  # what is at hand must be right, even where it is not asked for
        self.asked: dict[str, Asked] = tables.named(metrics) or tables.by_default(usual)
        self.metrics: dict[str, Metric] = {name: asked.metric() for name, asked in self.asked.items()}
        self._all_have_effect(files, kid_subset)
        for metric in self.metrics.values():
            if kid_subset is not None and metric.subset is not None:
                metric.subset = kid_subset
        self.cache = cache
        self.extractors: dict[str, Extractor] = {}
        self._known: dict[tuple[str, str], Tensor] = {}
        self._prepared: dict[tuple[str, str], Any] = {}
        place = device_of(device)
        for name, asked in self.asked.items():
            if asked.extractor not in self.extractors:
                made = make(asked.extractor, _class(asked.extractor), files, name)
                self.extractors[asked.extractor] = made.to(place).eval()

    def _all_have_effect(self, files: Given, kid_subset: int | None) -> None:
        """Raise ConfigError for a setting that none of the metrics reads."""
        names = ", ".join(self.metrics)
        if kid_subset is not None and all(metric.subset is None for metric in self.metrics.values()):
            raise ConfigError(
                f"a subset of {kid_subset} images is of kernel distances, and what is measured is {names}; leave it out"
            )
        read = {asked.extractor for asked in self.asked.values()}
        for name, file in files.items():
            if name not in read:
                what = "the Inception weights" if name == "inception" else f"weights of {name},"
                raise ConfigError(f"{what} {file} are given, and what is measured is {names}; leave them out")
            if _class(name).weights is None:
                raise ConfigError(f"weights of {name}, {file}, are given, and it takes none; leave them out")

    def check(self, generated: int, real: int) -> None:
        """Raise MetricError where so many images are fewer than a metric needs."""
        for name, metric in self.metrics.items():
            least, why = metric.least(self.extractors[self.asked[name].extractor].dimensions)
            for count, which in ((generated, "generated"), (real, "real")):
                if count < least and not (which == "real" and metric.of_logits):
                    raise MetricError(
                        f"{name} needs {least} {which} images and there are {count}: {why}; give more, or ask for other metrics"
                    )

    def score(self, generated: Tensor, real: Images) -> dict[str, Score]:
        """The scores of generated images, (N, 3, H, W), uint8, against real ones of the same size, by the names of
        what was measured. Real images' features are computed once and kept on disk.

        Raises MetricError where there are too few images, or images of two sizes.
        """
        return self.score_against(generated, {"": real})

    def all_in(self, scores: Collection[str], over_steps: bool = False) -> bool:
        """Whether scores, by their names, are of every metric; over_steps: of every one that is measured at earlier steps too."""
        asked = self.over_steps if over_steps else self.metrics
        rows = ((self.metrics[name], self.asked[name].extractor) for name in asked)
        return all(any(metric.on(extractor, row) in scores for row in metric.rows) for metric, extractor in rows)

    @property
    def over_steps(self) -> list[str]:
        """The names of the metrics that are measured at earlier steps of a run too."""
        return [name for name, metric in self.metrics.items() if metric.over_steps]

    def score_against(
        self, generated: Tensor, reals: Mapping[str, Images], only: Collection[str] | None = None
    ) -> dict[str, Score]:
        """As `score`, against several sets of real images, whose names stand after those of what was measured
        ("FD-lite0 test"); the generated images' features are computed once for all.

        only: names of metrics, by default all; what needs no real images is of the first set alone.
        """
        for real in reals.values():
            self._fits(generated, real)
        found: dict[str, Score] = {}
        extracted = {name: extract(made, generated, "generated images") for name, made in self.extractors.items()}
        for number, (which, real) in enumerate(reals.items()):
            for name, metric in self.metrics.items():
                if (only is not None and name not in only) or (number and metric.of_logits):
                    continue
                measured = self._measure(name, extracted[self.asked[name].extractor], real)
                found |= {f"{key} {which}".rstrip(): score for key, score in measured.items()}
        return found

    def _fits(self, generated: Tensor, real: Images) -> None:
        self.check(len(generated), len(real))
        if tuple(generated.shape[2:]) != real.size:
            raise MetricError(
                f"the generated images are {_by(generated.shape[2:])} and {real.name} is {_by(real.size)}; load the data at "
                "the generator's size"
            )

    def _measure(self, name: str, generated: Features, real: Images) -> dict[str, Score]:
        metric, extractor = self.metrics[name], self.asked[name].extractor
        features, logits = generated
        if metric.of_logits:
            if logits is None:
                raise MetricError(f"{name} is of logits, and {extractor} has none; ask for other metrics")
            scores = metric.measure(logits, None)
        else:
            theirs = self._real(extractor, real)
            with busy(name):
                key = (name, real.fingerprint)
                if key not in self._prepared:
                    self._prepared[key] = metric.prepare(theirs)
                scores = metric.measure(features, self._prepared[key])
        return {metric.on(extractor, row): score for row, score in scores.items()}

    def _real(self, extractor: str, real: Images) -> Tensor:
        key = (extractor, real.fingerprint)
        if key not in self._known:
            self._known[key] = of_real(self.extractors[extractor], real, self.cache)
        return self._known[key]

    def protocol(self, generated: int, real: Images) -> dict[str, str]:
        """What the scores of so many generated images depend on, in words, and has to stand beside them."""
        lines = {
            "generated": f"{generated} images of {_by(real.size)}",
            "real": f"{len(real)} images: {real.name} (sha256 {real.fingerprint[:16]})",
            **{f"features {name}": made.protocol for name, made in self.extractors.items()},
        }
        for metric in sorted(self.metrics.values(), key=lambda metric: metric.order):
            lines |= metric.protocol(generated, len(real))
        whose = (_arithmetic(asked) for asked in self.asked.values())
        lines["arithmetic"] = ", ".join(dict.fromkeys(whose))
        return lines


def _files(inception: str | os.PathLike[str] | None, weights: Given | None) -> dict[str, str | os.PathLike[str]]:
    """The files of weights that were given, by extractor. Raises ConfigError for one that there is not, or is given twice."""
    files = dict(weights or {})
    for name in files:
        if name not in EXTRACTORS.all() and name not in fidelity.names():
            raise ConfigError(one_of("extractor", name, [*EXTRACTORS.all(), *fidelity.names()]))
    if inception is not None:
        if "inception" in files:
            raise ConfigError(f"the Inception weights are given twice, {inception} and {files['inception']}; give one")
        files["inception"] = inception
    return files


def _class(extractor: str) -> type[Extractor]:
    return EXTRACTORS.get(extractor) if extractor in EXTRACTORS.all() else fidelity.registered(extractor)


def _usual(files: Given) -> str:
    for name in DEFAULTS:
        needed = EXTRACTORS.get(name).weights
        if needed is None or given(name, needed, files) is not None:
            return name
    raise ConfigError(f"no extractor is at hand; give the weights of {DEFAULTS[0]}")


def _arithmetic(asked: Asked) -> str:
    """Whose it is: a distribution and its version; of a metric that a file registered, the file."""
    package = asked.metric.package
    return f"{package} {version(package)}" if package else Path(METRICS.all()[asked.plugin].origin).name


def _by(size: Sequence[int]) -> str:
    height, width = size
    return f"{width}x{height}"

"""Tuning the GANs of `train`: `sparse-plugin tune train dcgan ...`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, DivergedError, OutputError, SparsePluginError
from sparse_plugin.experiments.engine import FailedRun, Say
from sparse_plugin.gans.gan import build, recipe
from sparse_plugin.runs.rundir import BusyError, RunDirectory
from sparse_plugin.tune.candidates import MIDDLE, VANILLA_CANDIDATE, Candidate, Natural, default_k, k_of
from sparse_plugin.tune.pictures import mosaic
from sparse_plugin.tune.target import Goal, Target
from sparse_plugin.tune.trial import RUN, SAMPLES, Score, Trial

if TYPE_CHECKING:
    from sparse_plugin.data import Images, Source
    from sparse_plugin.metrics import Evaluator

# Samples whose Γ is looked at, images of which a distortion is matched, and those that are shown.
MEASURED, MATCHED, SHOWN = 256, 32, 32


@dataclass(frozen=True)
class Scoring:
    """How runs are scored. data: the real images. metric: a name as of `evaluate`. samples: images that are drawn."""

    data: str | Source | None
    size: int
    metric: str
    samples: int
    inception: str | os.PathLike[str] | None = None
    kid_subset: int | None = None
    device: str | None = None


class Judge:
    """Scores runs against the real images, which are read once."""

    def __init__(self, of: Scoring) -> None:
        from sparse_plugin.data import load
        from sparse_plugin.metrics import Evaluator

        self.evaluator: Evaluator = Evaluator(
            [of.metric], inception=of.inception, kid_subset=of.kid_subset, device=of.device
        )
        asked = self.evaluator.asked[of.metric]
        rows = asked.metric.rows
        if len(rows) > 1:
            raise ConfigError(f"{of.metric} is several numbers, {', '.join(rows)}, and a race is for one; give another metric")
        self.row = asked.metric.on(asked.extractor, next(iter(rows)))
        self.real: Images = load(of.data, of.size)
        self.protocol = "; ".join(
            f"{what}: {how}" for what, how in self.evaluator.protocol(of.samples, self.real).items()
        )


@lru_cache(maxsize=1)
def judge(of: Scoring) -> Judge:
    """This process's judge."""
    return Judge(of)


@dataclass(frozen=True)
class GanTrial(Trial):
    """A run of a GAN by `train`. options: of `train_run`. steps: of a whole run."""

    arch: str
    steps: int
    scoring: Scoring
    options: Mapping[str, Any] = field(hash=False)

    @property
    def protocol(self) -> str:
        """As `evaluate` says it."""
        return judge(self.scoring).protocol

    @property
    def step(self) -> int:
        """The generator's step at the share."""
        return max(1, round(self.share * self.steps))

    def scored(self, title: str, say: Say) -> Score:
        """Train up to the step, sample, measure."""
        from sparse_plugin.gans.train import train_run
        from sparse_plugin.gans.trained import load_trained

        of = judge(self.scoring)
        fraction = float(self.options.get("fraction", 1.0))
        images = of.real if fraction == 1 else of.real.subset(fraction, self.seed)
        run = self.directory / RUN
        try:
            if RunDirectory(run).step < self.step:
                say("training")
            train_run(
                self.arch, run, images, sparse=self.candidate.sparse, seed=self.seed, until=self.step, **self.options
            )
            say("measuring")
            trained = load_trained(run, self.step, self.scoring.device)
            samples = trained.sampled(self.scoring.samples, 0)
        except (BusyError, OutputError, DivergedError):
            raise
        except SparsePluginError as error:
            if self.candidate == VANILLA_CANDIDATE:
                raise
            raise FailedRun(f"{self}: {error}") from None
        scores = of.evaluator.score_against(samples, {"": of.real})
        levels = sorted((m.record() for m in trained.measure(MEASURED)), key=lambda record: record["level"])
        mosaic(samples[:SHOWN], self.directory / SAMPLES)
        return Score(self.share, float(scores[of.row].value), self.protocol, self.step, levels)


class GanTarget(Target):
    """A GAN by `train`. words: those behind `train`, as they were typed. options: of `train_run`."""

    def __init__(self, arch: str, words: Sequence[str], scoring: Scoring, options: Mapping[str, Any], seed: int) -> None:
        from sparse_plugin.metrics.tables import better

        self.recipe = recipe(arch, scoring.size, float(options.get("fraction", 1.0)))
        steps = options.get("steps") or self.recipe.steps
        lower = better(scoring.metric) == "lower"
        super().__init__(
            f"{self.recipe.title}, by `train`",
            Goal(scoring.metric, lower, ratio=lower),
            steps=steps,
            stops=True,
            first_seed=seed,
            arch=arch,
        )
        self.words, self.scoring = tuple(words), scoring
        self.options = {**options, "steps": steps}

    def identity(self) -> Mapping[str, Any]:
        """The GAN, what decides how it is trained, and on which images."""
        from sparse_plugin.data import Source

        decide = ("steps", "size", "width", "batch", "accumulation", "fraction", "precision")
        source = Source.of(self.scoring.data)
        data = {"path": source.path and os.path.abspath(source.path), **source.reading()}
        return {"target": "gan", "arch": self.arch, **{name: self.options.get(name) for name in decide}, "data": data}

    def check(self) -> None:
        """Read the data, and refuse what the metric or the GAN cannot take; then look for further sites."""
        from sparse_plugin.gans.batches import check

        if self.options.get("precision") == "auto":
            raise ConfigError(
                "--precision auto may choose differently for two runs of a pair; name one, as in --precision float32"
            )
        judge.cache_clear()
        of = judge(self.scoring)
        of.evaluator.check(self.scoring.samples, len(of.real))
        self._classes = check(of.real, self.recipe)

    def look(self) -> None:
        """Find the further sites in a generator that is not trained."""
        import torch

        from sparse_plugin.tune.matched import further_sites

        with torch.random.fork_rng():
            torch.manual_seed(0)
            generator = build(self.recipe, float(self.options.get("width", 1.0)), self._classes).generator
            labels = torch.zeros(4, dtype=torch.int64) if self._classes else None
            self.further = tuple(further_sites(generator, (torch.randn(4, self.recipe.z), labels)))

    def trial(self, candidate: Candidate, seed: int, share: float, out: Path) -> GanTrial:
        """One run."""
        assert self.steps is not None
        return GanTrial(candidate, seed, share, out, self.arch, self.steps, self.scoring, self.options)

    def natural(self, vanilla: Sequence[Score], trial: Trial, matched: Sequence[Candidate]) -> Natural:
        """Of the vanilla runs; and by the first of them the k of further sites."""
        found = super().natural(vanilla, trial, matched)
        if not matched:
            return found
        from sparse_plugin.gans.trained import load_trained
        from sparse_plugin.tune.matched import matched_k

        assert isinstance(trial, GanTrial)
        trained = load_trained(trial.directory / RUN, None, self.scoring.device)
        inputs = trained.inputs(MATCHED)
        ks: dict[str, dict[str, float]] = {}
        for each in matched:
            assert each.sparse is not None and each.site is not None
            k = k_of(MIDDLE, found.density[0], found.channels[0], default_k(each.name, self.arch))
            ks.setdefault(each.name, {})[each.site] = matched_k(trained.generator, inputs, each.sparse, k, each.site)
        return Natural(found.density, found.channels, ks)

    def command(self, out: Path, config: Path | None) -> str:
        """The same `train`, with the settings."""
        attached = [] if config is None else ["--config", str(config)]
        return shlex.join(["sparse-plugin", "train", *self.words, *attached, "--run", str(out / "best")])

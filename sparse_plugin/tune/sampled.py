"""Scores of images that are drawn from the checkpoints of a trainer of others, as `evaluate` measures them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.evaluate.sampling import GeneratorSpec, sampler
from sparse_plugin.tune.gans import SHOWN, Scoring, judge
from sparse_plugin.tune.metric import MetricMissing
from sparse_plugin.tune.pictures import mosaic
from sparse_plugin.tune.trial import RUN, SAMPLES, Score

if TYPE_CHECKING:
    from sparse_plugin.tune.launched import HostTrial


@dataclass(frozen=True)
class SampledScorer:
    """spec: how a generator is built. checkpoint: a pattern below the run's directory, as "checkpoints/netG/*.pth". scoring: what
    is measured, against what.
    """

    spec: GeneratorSpec
    checkpoint: str
    scoring: Scoring

    @property
    def protocol(self) -> str:
        """As `evaluate` says it."""
        return judge(self.scoring).protocol

    def check(self) -> None:
        """Read the real images; refuse what the metric cannot take."""
        judge.cache_clear()
        of = judge(self.scoring)
        of.evaluator.check(self.scoring.samples, len(of.real))
        if Path(self.checkpoint).is_absolute():
            raise ConfigError(f"--checkpoint {self.checkpoint} is looked for in {{dir}}; give a pattern below it, as in '*.pth'")

    def score(self, trial: HostTrial, before: Score | None) -> tuple[float, dict[str, Any]]:
        """Of the latest checkpoint."""
        run = trial.directory / RUN
        path = latest(run.glob(self.checkpoint))
        if path is None:
            raise MetricMissing(f"no file {self.checkpoint} was written in {run}, so there is no checkpoint to draw samples from")
        if before is not None and before.more.get("checkpoint") == [path.name, os.stat(path).st_mtime_ns]:
            raise MetricMissing(f"{path} is the checkpoint of {100 * before.share:.3g} % of the run still, and no later one was written")
        of = judge(self.scoring)
        images = sampler(path, self.spec, self.scoring.device)(self.scoring.samples, 0)
        value = of.evaluator.score_against(images, {"": of.real})[of.row].value
        mosaic(images[:SHOWN], trial.directory / SAMPLES)
        return float(value), {"checkpoint": [path.name, os.stat(path).st_mtime_ns]}


def latest(paths: Iterable[Path]) -> Path | None:
    """The file that was written last; of several at one time the last by name."""
    return max((path for path in paths if path.is_file()), key=lambda path: (os.stat(path).st_mtime_ns, path.name), default=None)

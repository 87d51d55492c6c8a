"""One candidate and seed, trained up to a share of a run and scored, in a directory of its own.

scores.jsonl  a line a rung: the score, Γ as it then was
run/          what the training writes
samples.png   some of the images that the last score is of, where there are any
output.log    of a trainer of others, what it prints
attempts.jsonl  why it failed, if it did
.lease.*      whose turn it is
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparse_plugin.experiments.engine import FailedRun, GridRun, Say
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.support.files import append, lines, unwritten
from sparse_plugin.tune.candidates import Candidate

SCORES, RUN, SAMPLES, OUTPUT = "scores.jsonl", "run", "samples.png", "output.log"


@dataclass(frozen=True)
class Score:
    """share: of a run, after which it was taken. step: of the generator, where it is known. value: of the metric. protocol:
    what the value depends on. levels: of Γ, as `Measurement.record` writes them. seconds: that this rung took, this time.
    more: what a target keeps for itself.
    """

    share: float
    value: float
    protocol: str
    step: int | None = None
    levels: list[dict[str, Any]] = field(default_factory=list, hash=False)
    seconds: float = 0.0
    more: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Score:
        """A line of scores.jsonl. Raises KeyError or TypeError for what is none."""
        own = {name: mapping[name] for name in cls.__dataclass_fields__ if name in mapping}
        made = cls(**own)
        if not math.isfinite(made.value) or not isinstance(made.share, (int, float)):
            raise TypeError("a score is a finite number")
        return made


@dataclass(frozen=True)
class Trial(GridRun):
    """candidate with seed, up to share of a run. out: the race's directory."""

    candidate: Candidate
    seed: int
    share: float
    out: Path

    @property
    def directory(self) -> Path:
        """out/l0_inf-k=0.25/seed0, whatever the share."""
        return self.out / self.candidate.label.replace("/", "_") / f"seed{self.seed}"

    @property
    def places(self) -> tuple[Path, ...]:
        """The trial's directory, and its training's."""
        return (self.directory, self.directory / RUN)

    def __str__(self) -> str:
        part = "" if self.share == 1 else f", {100 * self.share:.3g} % of a run"
        return f"{self.candidate.label}, seed {self.seed}{part}"

    @property
    @abstractmethod
    def protocol(self) -> str:
        """What the score depends on: scores of another are not compared with this one's."""

    def scores(self) -> list[Score]:
        """Those of this directory, rising with the share; one that was taken again counts once."""
        found: dict[float, Score] = {}
        path = self.directory / SCORES
        for line in lines(path) if path.is_file() else ():
            try:
                made = Score.from_json(line)
            except (KeyError, TypeError):
                continue  # a line that somebody else wrote
            if made.protocol == self.protocol:
                found[made.share] = made
        return [found[share] for share in sorted(found)]

    def collect(self) -> Score | None:
        """The score of this share, None where it was not taken yet."""
        return next((score for score in self.scores() if math.isclose(score.share, self.share)), None)

    def state(self) -> str:
        """How far it is."""
        if self.collect() is not None:
            return "finished"
        before = self.scores()
        return f"at {100 * before[-1].share:.3g} % of a run" if before else "not begun"

    def perform(self, title: str, say: Say) -> Score:
        """Train up to the share, or go on to it, and score; the score that is there already, if it is."""
        there = self.collect()
        if there is not None:
            return there
        with RunDirectory(self.directory).locked():
            there = self.collect()  # another process may have been at work on it until now
            if there is not None:
                return there
            began = time.monotonic()
            made = self.scored(title, say)
            if not math.isfinite(made.value):
                raise FailedRun(f"{self}: its score is {made.value}, which is no number to compare; see {self.directory}")
            self._keep(made, time.monotonic() - began)
        return made

    @abstractmethod
    def scored(self, title: str, say: Say) -> Score:
        """Train and score, in the directory, which nobody else is at work in. Raises FailedRun where that fails."""

    def _keep(self, made: Score, seconds: float) -> None:
        values = {name: getattr(made, name) for name in made.__dataclass_fields__}
        try:
            append(self.directory / SCORES, values | {"seconds": round(seconds, 2)})
        except OSError as error:
            raise unwritten(self.directory / SCORES, error) from None

"""The runs of a race that were begun, from its directory alone: which come later follows from how those end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.experiments.engine import FailedRun, GridRun, Say
from sparse_plugin.support.files import lines
from sparse_plugin.tune.trial import RUN, SCORES


@dataclass(frozen=True)
class BegunRun(GridRun):
    """A run of a race, to be looked at."""

    place: Path

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self.place

    @property
    def places(self) -> tuple[Path, ...]:
        """As of `Trial`."""
        return (self.place, self.place / RUN)

    def __str__(self) -> str:
        return f"{self.place.parent.name}, seed {self.place.name.removeprefix('seed')}"

    def state(self) -> str:
        """Whether it has a score."""
        return "finished" if self.collect() else "begun"

    def collect(self) -> list[dict[str, Any]] | None:
        """Its scores, one a rung; None for none."""
        path = self.place / SCORES
        return (list(lines(path)) if path.is_file() else []) or None

    def perform(self, title: str, say: Say) -> Any:
        """It is the race's to perform."""
        raise FailedRun(f"{self} is a run of a race, which performs it")


def begun(out: str | Path) -> list[BegunRun]:
    """The runs below a race's directory, by candidate and seed."""
    return [BegunRun(path) for path in sorted(Path(out).glob("*/seed*")) if path.is_dir()]

"""What is tuned: whose runs are raced, how they are scored, and how the winner is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.tune.candidates import DEFAULT_METHODS, Candidate, Natural
from sparse_plugin.tune.trial import Score, Trial


@dataclass(frozen=True)
class Goal:
    """metric: its name, for people. lower: whether lower values are better. ratio: whether values are above 0 by nature and are
    compared in per cent; else in their own unit, `unit`.
    """

    metric: str
    lower: bool
    ratio: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Site:
    """A further site. path: of the module whose input it is. density: of its Γ in a generator that is not trained."""

    path: str
    density: float


@dataclass
class Target(ABC):
    """Whose runs are raced.

    title: for people. steps: of a whole run, None where they are not known. stops: whether a run can be stopped at a share and
    gone on with. first_seed: seeds count from it on. arch: whose defaults regularizers have. methods: that are raced where nobody
    says. further: sites beside D1.
    """

    title: str
    goal: Goal
    steps: int | None = None
    stops: bool = False
    first_seed: int = 0
    arch: str = ""
    methods: tuple[str, ...] = DEFAULT_METHODS
    further: tuple[Site, ...] = field(default=())

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What must be the same wherever one directory is gone on with, as JSON."""

    @abstractmethod
    def trial(self, candidate: Candidate, seed: int, share: float, out: Path) -> Trial:
        """The description of one run."""

    @abstractmethod
    def command(self, out: Path, config: Path | None) -> str:
        """The command that trains with a file of settings, or without any."""

    def check(self) -> None:
        """Raise ConfigError for what cannot be run or scored, before anything is."""
        return

    def look(self) -> None:
        """Find the further sites; by default there are none that can be told."""
        return

    def named(self, paths: Sequence[str]) -> list[str]:
        """Further sites that somebody named. Raises ConfigError for those at which no k can be matched."""
        known = {site.path for site in self.further}
        wrong = [path for path in paths if path not in known]
        if wrong:
            there = ", ".join(sorted(known)) or "none whose k could be matched"
            raise ConfigError(f"--sites names {wrong[0]!r}, and further sites here are {there}; give auto, d1, or some of those")
        return list(paths)

    def natural(self, vanilla: Sequence[Score], trial: Trial, matched: Sequence[Candidate]) -> Natural:
        """What vanilla's Γ is like, by its scores at a rung. trial: one of them. matched: the candidates at further sites.

        Of several heads, each of which is Γ_1, it is the mean, and the fewest channels: a k is for all of them.
        """
        del trial, matched
        density: dict[int, list[float]] = {}
        channels: dict[int, list[int]] = {}
        for level in (level for score in vanilla for level in score.levels):
            number = int(level.get("level", 1))
            density.setdefault(number, []).append(float(level["sparsity"]) / 100)
            channels.setdefault(number, []).extend([len(level["atom_usage"])] if level.get("atom_usage") else [])
        order = sorted(density)
        return Natural(
            tuple(sum(density[number]) / len(density[number]) for number in order),
            tuple(min(channels[number], default=None) for number in order),
        )

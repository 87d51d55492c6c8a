"""The race: successive halving of candidates over pairs by seed, on the engine of every grid.

A candidate's score at a rung is its mean difference to vanilla over the seeds so far, pair by pair. Whatever a directory
holds already is not trained again, so a race that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments import statistics
from sparse_plugin.experiments.engine import Attempt, Engine, FailedRun, GridRun, chosen, say_line
from sparse_plugin.experiments.statistics import Change
from sparse_plugin.support.files import content, understood, write
from sparse_plugin.tune.budget import Rung
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE, Candidate, Natural, settled
from sparse_plugin.tune.target import Target
from sparse_plugin.tune.trial import Score

NATURAL = "natural.json"
# Seconds between two looks at runs that other processes are at work on.
PATIENCE = 5.0


@dataclass
class Standing:
    """Where a candidate came to. rung: the last that it was raced at. failed: why it is out, if it failed."""

    candidate: Candidate
    rung: int = -1
    values: dict[int, float] = field(default_factory=dict)
    change: Change | None = None
    failed: str = ""

    @property
    def label(self) -> str:
        """The candidate's."""
        return self.candidate.label


@dataclass(frozen=True)
class Outcome:
    """What a race came to. standings: the best first, those that failed last; vanilla is none of them. vanilla: by rung, its
    values by seed.
    """

    target: Target
    rungs: tuple[Rung, ...]
    standings: tuple[Standing, ...]
    vanilla: tuple[dict[int, float], ...]
    natural: Natural

    @property
    def best(self) -> Standing | None:
        """The first, None where all failed."""
        return next((each for each in self.standings if not each.failed), None)

    @property
    def chosen(self) -> Candidate:
        """The best if its mean is better than vanilla's, else vanilla."""
        best = self.best
        if best is None or best.change is None or _worth(best.change, self.target) >= 0:
            return VANILLA_CANDIDATE
        return best.candidate

    @property
    def relative(self) -> bool:
        """Whether changes are in per cent of vanilla's value."""
        every = [*self.vanilla, *(each.values for each in self.standings)]
        return self.target.goal.ratio and all(value > 0 for values in every for value in values.values())

    @property
    def one_seed(self) -> bool:
        """Whether every run came to the same number with each of its seeds: then several pairs are one."""
        every = [*self.vanilla, *(each.values for each in self.standings)]
        several = [set(values.values()) for values in every if len(values) > 1]
        return bool(several) and all(len(values) == 1 for values in several)

    @property
    def unit(self) -> str:
        """Of the changes."""
        return "%" if self.relative else self.target.goal.unit


def _worth(change: Change, target: Target) -> float:
    """Lower is better, below 0 better than vanilla."""
    return change.mean if target.goal.lower else -change.mean


class Race:
    """One race. wanted: as of `candidates.wanted`."""

    def __init__(
        self, target: Target, wanted: Sequence[Candidate], rungs: Sequence[Rung], out: Path, engine: Engine | None = None
    ) -> None:
        self.target, self.wanted, self.rungs, self.out, self.engine = target, wanted, tuple(rungs), out, engine or chosen()

    def run(self) -> Outcome:
        """Race to the end. Raises ConfigError or FailedRun where vanilla itself cannot be run or scored."""
        vanilla = Standing(VANILLA_CANDIDATE)
        base: list[dict[int, float]] = [self._vanilla(vanilla, 0)]
        natural = self._natural()
        made = {each.label: each for each in (settled(each, natural, self.target.arch) for each in self.wanted)}
        racing = [Standing(each) for each in made.values()]  # levels may come to one k
        self.rungs = tuple(replace(rung, candidates=min(rung.candidates, len(racing))) for rung in self.rungs)
        out: list[Standing] = []
        for number, rung in enumerate(self.rungs):
            racing, given_up = racing[: rung.candidates], racing[rung.candidates :]
            out = [*given_up, *out]
            if number:
                base.append(self._vanilla(vanilla, number))
            self._raced(racing, number)
            out = [*out, *(each for each in racing if each.failed)]
            racing = [each for each in racing if not each.failed]
            self._ranked(racing, base[number])
            for each in racing:
                each.rung = number
        standings = (*racing, *(each for each in out if not each.failed), *(each for each in out if each.failed))
        outcome = Outcome(self.target, self.rungs, standings, tuple(base), natural)
        changes = [None if each.failed else self._change(each, base, outcome) for each in standings]
        judged = statistics.judged(changes, self.target.goal.lower)
        for each, change in zip(standings, judged, strict=True):
            each.change = change
        return outcome

    def _seeds(self, rung: int) -> list[int]:
        first = self.target.first_seed
        return list(range(first, first + self.rungs[rung].seeds))

    def _vanilla(self, vanilla: Standing, number: int) -> dict[int, float]:
        self._raced([vanilla], number)
        if vanilla.failed:
            raise FailedRun(f"vanilla cannot be compared with: {vanilla.failed}")
        return dict(vanilla.values)

    def _raced(self, racing: Sequence[Standing], number: int) -> None:
        """Have all of them trained and scored up to a rung."""
        share = self.rungs[number].share
        of: dict[GridRun, tuple[Standing, int]] = {}
        for seed in self._seeds(number):  # a pair is complete before the next seed is begun
            for each in racing:
                of[self.target.trial(each.candidate, seed, share, self.out)] = each, seed
        waiting = list(of)
        while waiting:
            busy = []
            for attempt in self._placed(waiting):
                standing, seed = of[attempt.run]
                if attempt.busy:
                    busy.append(attempt.run)
                elif attempt.failed:
                    standing.failed = standing.failed or attempt.failed
                else:
                    standing.values[seed] = attempt.outcome.value
            waiting = [run for run in busy if not of[run][0].failed]
            if waiting:
                time.sleep(PATIENCE)

    def _placed(self, runs: Sequence[GridRun]) -> list[Attempt]:
        """What becomes of runs, those that are finished without being begun."""
        collected = [Attempt(run, run.collect()) for run in runs]
        there = [each for each in collected if each.outcome is not None]
        return [*there, *self.engine([each.run for each in collected if each.outcome is None], 0)]

    def _ranked(self, racing: list[Standing], base: dict[int, float]) -> None:
        """Sort by the mean paired difference, the best first."""
        relative = self.target.goal.ratio and all(v > 0 for each in racing for v in (*each.values.values(), *base.values()))
        for each in racing:
            each.change = paired(each.values, base, relative)
        racing.sort(key=lambda each: _worth(each.change, self.target) if each.change else 0.0)

    def _change(self, each: Standing, base: Sequence[dict[int, float]], outcome: Outcome) -> Change | None:
        values = {self.target.first_seed: each.values[self.target.first_seed]} if outcome.one_seed else each.values
        return paired(values, base[each.rung], outcome.relative)

    def _natural(self) -> Natural:
        """Of vanilla at the first rung; kept, since the names of the candidates follow from it."""
        trials = [self.target.trial(VANILLA_CANDIDATE, seed, self.rungs[0].share, self.out) for seed in self._seeds(0)]
        path = trials[0].directory / NATURAL
        further = [each for each in self.wanted if each.site is not None]
        there = _kept(path)
        lacking = [e for e in further if there is None or e.site not in there.matched.get(e.name, {})]
        if there is not None and not lacking:
            return there
        scores = [score for trial in trials if isinstance(score := trial.collect(), Score)]
        made = self.target.natural(scores, trials[0], further)
        if not made.density and any(each.share is not None for each in self.wanted):
            raise ConfigError(
                f"the natural density of Γ was not measured in {trials[0].directory}, so there is no level to race; give levels "
                "yourself, as in --methods l0_inf:k=0.25"
            )
        if there is not None:  # what candidates are called already stays
            made = replace(made, density=there.density, channels=there.channels)
        values = {"density": made.density, "channels": made.channels, "matched": made.matched}
        write(path, json.dumps(values))
        say_line("Γ", natural_line(made))
        return made


def natural_line(natural: Natural) -> str:
    """The natural density, for people."""
    shown = ", ".join(f"{100 * density:.1f} %" for density in natural.density)
    dense = "; it is dense by nature, so levels are around the defaults" if natural.dense and natural.density else ""
    return f"natural density {shown or 'not measured'}{dense}"


def _kept(path: Path) -> Natural | None:
    try:
        with understood(path, "delete it, and it is measured again"):
            found = json.loads(content(path))
            return Natural(tuple(found["density"]), tuple(found["channels"]), dict(found["matched"]))
    except FileNotFoundError:
        return None


def paired(values: dict[int, float], base: dict[int, float], relative: bool) -> Change | None:
    """The change from vanilla's values to a candidate's, by seed; None where no seed has both."""
    seeds = sorted(values.keys() & base.keys())
    if not seeds:
        return None
    pairs = [values[seed] for seed in seeds], [base[seed] for seed in seeds]
    return statistics.change(*pairs) if relative else statistics.difference(*pairs)

"""The rungs of a race: how far candidates are trained, over how many seeds, before the worse ones are given up.

Successive halving (Jamieson & Talwalkar, AISTATS 2016; Li et al., Hyperband, JMLR 18, 2018) with vanilla always kept. A
trainer that can be stopped is raced over steps: all seeds of a candidate up to the rung's share of a run. One that cannot is
raced over seeds: whole runs of one more seed at each rung.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sparse_plugin.errors import ConfigError

# No first rung is below this share of a run: nothing is told of a candidate before.
FIRST = 0.02
_FACTORS = (2, 3, 4, 5, 6, 8, 10, 16, 32, 1000)


@dataclass(frozen=True)
class Rung:
    """share: of a whole run's steps. seeds: how many by then. candidates: how many are raced at it, vanilla aside."""

    share: float
    seeds: int
    candidates: int


@dataclass(frozen=True)
class Budget:
    """What may be spent: a share of the full grid's steps, or steps."""

    share: float | None = None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """ "0.3" is a share, "20000" steps; "1" is all. Raises ConfigError for anything else."""
        try:
            value = float(text.replace("_", ""))
        except ValueError:
            value = -1.0
        if 0 < value <= 1:
            return cls(share=value)
        if value > 1 and value.is_integer():
            return cls(steps=int(value))
        raise ConfigError(
            f"--budget {text!r} is no budget; give a share of the full grid's steps, as 0.3, or a number of steps above 1, as 20000"
        )

    def runs(self, full: int, steps: int | None) -> float:
        """In whole runs, of a grid of `full` of them. steps: of a run; raises ConfigError where they are asked for and not known."""
        if self.share is not None:
            return self.share * full
        if steps is None:
            raise ConfigError(
                f"the budget is {self.steps} steps, and how many a run of this trainer has is not known; say it by --steps, or give "
                "a share of the grid, as --budget 0.3"
            )
        assert self.steps is not None
        return self.steps / steps


def cost(rungs: tuple[Rung, ...]) -> float:
    """What a race takes, in whole runs: vanilla's, and what each rung adds to the candidates that are left."""
    share, seeds, total = 0.0, 0, 0.0
    for rung in rungs:
        total += (rung.candidates + 1) * (rung.share * rung.seeds - share * seeds)
        share, seeds = rung.share, rung.seeds
    return total


def plan(budget: Budget, candidates: int, seeds: int, steps: int | None, stops: bool) -> tuple[Rung, ...]:
    """The race that makes most of a budget. Raises ConfigError for one that is too small for any.

    candidates: vanilla aside. seeds: of each that reaches the end. steps: of a run, where they are known. stops: whether a
    run can be stopped and gone on with.
    """
    full = (candidates + 1) * seeds
    runs = budget.runs(full, steps)
    ways = list(_over_steps(candidates, seeds, steps) if stops else _over_seeds(candidates, seeds))
    fitting = [rungs for rungs in ways if cost(rungs) <= runs * (1 + 1e-9)]
    if fitting:
        return max(fitting, key=lambda rungs: (round(cost(rungs), 6), -len(rungs)))
    least = min(map(cost, ways))
    how = "" if stops else ", as it cannot be stopped and gone on with"
    asked = f"{budget.share:g} of the grid" if budget.share is not None else f"{budget.steps} steps"
    enough = f"{least / full + 0.00499:.2f}" + ("" if steps is None else f" ({round(least * steps + 0.5)} steps)")
    raise ConfigError(
        f"a budget of {asked} is too small for one rung: racing {candidates} candidates and vanilla over {seeds} seeds takes "
        f"{least:.3g} of {full} whole runs of this trainer{how}; give --budget {enough} or more, or fewer --methods, --shares or sites"
    )


def _over_steps(candidates: int, seeds: int, steps: int | None) -> Iterator[tuple[Rung, ...]]:
    first = max(FIRST, 0.0 if steps is None else 1 / steps)
    for factor in _FACTORS:
        for count in range(1, 7):
            shares = [factor ** -(count - 1 - rung) for rung in range(count)]
            if shares[0] < first and count > 1:
                break
            if steps is not None and len({round(share * steps) for share in shares}) < count:
                break
            yield tuple(
                Rung(share, seeds, max(1, round(candidates / factor**rung))) for rung, share in enumerate(shares)
            )


def _over_seeds(candidates: int, seeds: int) -> Iterator[tuple[Rung, ...]]:
    for factor in (1, *_FACTORS):
        yield tuple(Rung(1.0, seed + 1, max(1, round(candidates / factor**seed))) for seed in range(seeds))

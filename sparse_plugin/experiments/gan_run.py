"""One run of a grid of GANs: trained, sampled and measured, in a directory of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.evaluate import outcome
from sparse_plugin.evaluate.outcome import Outcome
from sparse_plugin.experiments import records
from sparse_plugin.experiments.engine import GridRun, Say
from sparse_plugin.experiments.records import Record
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.methods import Method
from sparse_plugin.runs.rundir import CONFIG, RunDirectory

if TYPE_CHECKING:
    from sparse_plugin.data import Images, Source
    from sparse_plugin.metrics import Evaluator


@dataclass(frozen=True)
class TrainingBudget:
    """How long and how wide the runs of an architecture are. steps, batch: None for the recipe's."""

    width: float = 1.0
    steps: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Conditions:
    """What the runs of a grid share, besides their recipes and budgets: how they are trained and measured, and on what.

    data, test_data: as for `data.load`. samples: generated images that are measured. metrics, inception, kid_subset: as for
    `metrics.Evaluator`. measure_at: earlier steps whose distances are measured. checkpoint_every: None for a fifth of a run.
    """

    data: str | Source | None = None
    test_data: str | None = None
    samples: int = 10_000
    metrics: tuple[str, ...] = ()
    inception: str | os.PathLike[str] | None = None
    kid_subset: int | None = None
    measure_at: tuple[int, ...] = ()
    precision: str = "float32"
    checkpoint_every: int | None = None
    device: str | None = None


class Workplace:
    """What a process needs for runs under the same conditions, and keeps from one to the next."""

    def __init__(self, conditions: Conditions) -> None:
        from sparse_plugin.metrics import Evaluator

        of = conditions
        self.conditions = of
        self.evaluator: Evaluator = Evaluator(
            of.metrics, inception=of.inception, kid_subset=of.kid_subset, device=of.device
        )

    @cached_property
    def real(self) -> Images:
        """The real images, all of them: what is measured against, and what shares of are trained on."""
        from sparse_plugin.data import load

        return load(self.conditions.data, 32)

    @cached_property
    def reals(self) -> Mapping[str, Images]:
        """What is measured against: the images, and those of the test split, where there are some."""
        from sparse_plugin.data import load

        test = self.conditions.test_data
        return {"": self.real} | ({} if test is None else {"test": load(test, 32)})

    @property
    def protocol(self) -> dict[str, str]:
        """What the scores depend on."""
        return outcome.protocol(self.evaluator, self.conditions.samples, self.reals)

    def measured(self, scored: Outcome | Record) -> bool:
        """Whether all metrics that are asked for were measured, at the last step and at those of `measure_at`."""
        by_step = scored.by_step if isinstance(scored, Outcome) else scored.scores
        last = max(by_step)
        steps = (last, *self.conditions.measure_at)
        return all(self.evaluator.all_in(by_step.get(step, {}), over_steps=step != last) for step in steps)


@lru_cache(maxsize=1)
def workplace(conditions: Conditions) -> Workplace:
    """This process's workplace for runs under these conditions; the one before it is given up."""
    return Workplace(conditions)


@dataclass(frozen=True)
class GanRun(GridRun):
    """One run of a table. out: the grid's directory."""

    recipe: Recipe
    fraction: float
    method: Method
    seed: int
    budget: TrainingBudget
    out: Path = Path()
    conditions: Conditions = field(default_factory=Conditions)

    @property
    def steps(self) -> int:
        """Updates of the generator."""
        return self.recipe.steps if self.budget.steps is None else self.budget.steps

    @property
    def batch(self) -> int:
        """Images of an update."""
        return self.recipe.batch if self.budget.batch is None else self.budget.batch

    @property
    def directory(self) -> Path:
        """Where the run is: out/dcgan/l0_inf-k=0.25/seed0, with a level more where the data are limited."""
        share = [] if self.fraction == 1 else [f"{self.fraction:g}"]
        return Path(self.out, self.recipe.arch, *share, self.method.label, f"seed{self.seed}")

    def __str__(self) -> str:
        share = "" if self.fraction == 1 else f" on {100 * self.fraction:g} %"
        return f"{self.recipe.title}{share}, {self.method.label}, seed {self.seed}"

    def plan(self) -> str:
        """What would be done."""
        return f"{self}: {self.steps} steps, width {self.budget.width:g}, {self.state()}"

    def state(self) -> str:
        """How far it is, for people."""
        if (self.directory / outcome.FILE).is_file():
            return "finished"
        step = RunDirectory(self.directory).step
        return f"at step {step}" if step else "not begun"

    def collect(self) -> Outcome | None:
        """What a run that was trained to its end and measured came to."""
        there = outcome.read(self.directory) if (self.directory / outcome.FILE).is_file() else None
        if there is None or there.step != self.steps:
            return None
        return there if all(step in there.by_step for step in self.conditions.measure_at) else None

    def perform(self, title: str, say: Say) -> Outcome:
        """Train and measure. One that is finished is compared with what is asked for, and measured anew in another way."""
        self._train(say)
        at = workplace(self.conditions)
        there = self.collect()
        if there is not None and there.protocol == at.protocol and at.measured(there):
            return there
        say("measuring")
        with RunDirectory(self.directory).locked():
            of = self.conditions
            return outcome.measure(
                self.directory, of.samples, at.evaluator, at.reals, device=of.device, steps=of.measure_at
            )

    def record(self, outcome: Any) -> Record:
        """The line of what it came to."""
        return records.of(outcome)

    def check(self) -> None:
        """Raise ConfigError where its directory holds a run of other settings, or a step that is to be measured is none of the
        run's, or is gone.
        """
        self._check_settings()
        measure_at = self.conditions.measure_at
        beyond = [step for step in measure_at if not 0 < step <= self.steps]
        if beyond:
            raise ConfigError(
                f"step {beyond[0]} is to be measured, and {self} has {self.steps} steps; give --measure-at steps from 1 to that"
            )
        directory = RunDirectory(self.directory)
        done = outcome.read(directory.path) if (directory.path / outcome.FILE).is_file() else None
        there = {*checkpoints.steps(directory.checkpoints), *(done.by_step if done else ())}
        gone = [step for step in measure_at if step < directory.step and step not in there]
        if gone:
            raise ConfigError(
                f"step {gone[0]} is to be measured, and {directory.path}, which is at step {directory.step}, has kept no "
                f"checkpoint of it (those of {', '.join(map(str, sorted(there)))} are there); give --measure-at those, or "
                "train into another directory"
            )

    def _check_settings(self) -> None:
        directory = RunDirectory(self.directory)
        if not (self.directory / CONFIG).is_file():
            return
        there = directory.values()
        here = {
            "steps": self.steps,
            "width": self.budget.width,
            "batch": self.batch,
            "precision": self.conditions.precision,
        }
        differ = [name for name, value in here.items() if value != "auto" and name in there and there[name] != value]
        if differ:
            each = "; ".join(f"{name} is {there[name]!r} there and {here[name]!r} here" for name in differ)
            raise ConfigError(
                f"{self.directory} holds a run of another configuration: {each}; name another directory with --out, or ask for the same"
            )

    def _train(self, say: Say) -> None:
        from sparse_plugin.gans.train import train_run

        if RunDirectory(self.directory).step < self.steps:
            say("training")
        of, real = self.conditions, workplace(self.conditions).real
        every = max(1, min(1000, self.steps // 5)) if of.checkpoint_every is None else of.checkpoint_every
        train_run(
            self.recipe.arch,
            self.directory,
            real if self.fraction == 1 else real.subset(self.fraction, self.seed),
            sparse=self.method.sparse,
            width=self.budget.width,
            batch=self.budget.batch,
            steps=self.steps,
            seed=self.seed,
            fraction=self.fraction,
            precision=self._precision,
            checkpoint_every=every,
            keep_at=of.measure_at,
            device=of.device,
        )

    @property
    def _precision(self) -> str:
        """What was asked for; for "auto" that of the runs that this one is compared with, if one was begun."""
        if self.conditions.precision != "auto":
            return self.conditions.precision
        beside = sorted(self.directory.parent.parent.glob(f"*/seed*/{CONFIG}"))
        return RunDirectory(beside[0].parent).config().precision if beside else "auto"

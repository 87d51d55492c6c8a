"""Going through a grid: train and measure what is not finished, skip what is, collect it all.

Several processes may go through one grid, one a GPU: each takes runs in which no other is at work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_plugin.errors import ConfigError, DivergedError, one_of
from sparse_plugin.evaluate import outcome
from sparse_plugin.evaluate.outcome import Outcome
from sparse_plugin.experiments import grid, records, table
from sparse_plugin.experiments.elsewhere import complete
from sparse_plugin.experiments.grid import Cell, Scale
from sparse_plugin.experiments.paper import TABLES
from sparse_plugin.experiments.statistics import least_p, pairs_needed
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.methods import VANILLA
from sparse_plugin.runs.rundir import CONFIG, BusyError, RunDirectory
from sparse_plugin.support.device import device_of
from sparse_plugin.support.optional import need

if TYPE_CHECKING:
    from sparse_plugin.data import Images, Source
    from sparse_plugin.metrics import Evaluator


def run(
    name: str,
    out: str | Path,
    data: str | Source | None = None,
    *,
    scale: str = "small",
    archs: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
    first_seed: int = 0,
    fractions: Sequence[float] = (),
    controls: bool = True,
    width: float | None = None,
    steps: int | None = None,
    batch: int | None = None,
    samples: int | None = None,
    precision: str = "float32",
    metrics: Iterable[str] = (),
    inception: str | os.PathLike[str] | None = None,
    kid_subset: int | None = None,
    checkpoint_every: int | None = None,
    measure_at: Sequence[int] = (),
    test_data: str | None = None,
    record: str | Path | None = None,
    imports: Iterable[str] = (),
    device: str | None = None,
    dry_run: bool = False,
    command: str = "",
) -> tuple[str, int]:
    """Make a table of the paper: every run that is not finished is trained, or resumed, and measured.

    name: "table1", "table2" or "table3". out: where the runs and the table are. data: as for `train`, CIFAR-10 for the
    paper's. scale: "paper", the recipes as they are, or "small". archs: rows, by default the paper's. methods: columns, as
    in "vanilla", "l0_inf" or "l1:weight=0.1". seeds, width, steps, batch, samples: instead of the scale's; samples counts
    the generated images that are measured. first_seed: seeds count from it on. fractions: shares of the data, instead of
    the table's. controls: with the runs that tell what a method's sparsity does apart (ml_csc with k = 1.0). measure_at:
    earlier steps whose distances are measured. test_data: real images of a test split, which are measured against too.
    record: a file of finished runs, see `records`. metrics, inception, kid_subset: as for `metrics.Evaluator`. dry_run: say
    what would be done. command: what was asked for, to stand under the table.

    Returns what to say and an exit code: 0, or 1 where a run diverged; all others are finished nevertheless.

    Raises ConfigError for what is not valid before anything is trained, and what `reference.train.run` does.
    """
    if name not in TABLES:
        raise ConfigError(one_of("table", name, TABLES))
    if scale not in grid.SCALES:
        raise ConfigError(one_of("scale", scale, grid.SCALES))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "an experiment does not run under torchrun; start the same command once for every GPU instead"
        )
    need("an experiment", "experiments", "safetensors", "torch_fidelity", "torchvision")
    of = grid.override(grid.SCALES[scale], width, steps, batch, samples)
    cells = grid.cells(TABLES[name], of, archs, methods, imports, seeds, first_seed, fractions, controls)
    _measurable(cells, Path(out), measure_at)
    if record is not None:
        records.read(Path(record))  # a file that is none is to be refused before anything is trained
    if dry_run:
        return _plan(cells, Path(out)), 0

    from sparse_plugin.metrics import Evaluator

    evaluator = Evaluator(metrics, inception=inception, kid_subset=kid_subset, device=device)
    work = _Work(
        Path(out),
        data,
        of,
        precision,
        checkpoint_every,
        device,
        evaluator,
        tuple(sorted(set(measure_at))),
        test_data,
        None if record is None else Path(record),
    )
    return work.all(cells, name, command)


def _measurable(cells: Sequence[Cell], out: Path, measure_at: Sequence[int]) -> None:
    """Raise ConfigError where a step that is to be measured is none of a run's, or is gone."""
    for cell in cells:
        beyond = [step for step in measure_at if not 0 < step <= cell.steps]
        if beyond:
            raise ConfigError(
                f"step {beyond[0]} is to be measured, and {cell} has {cell.steps} steps; give --measure-at steps from 1 to that"
            )
        directory = RunDirectory(cell.directory(out))
        done = outcome.read(directory.path) if (directory.path / outcome.FILE).is_file() else None
        there = {*checkpoints.steps(directory.checkpoints), *(done.by_step if done else ())}
        gone = [step for step in measure_at if step < directory.step and step not in there]
        if gone:
            raise ConfigError(
                f"step {gone[0]} is to be measured, and {directory.path}, which is at step {directory.step}, has kept no "
                f"checkpoint of it (those of {', '.join(map(str, sorted(there)))} are there); give --measure-at those, or "
                "train into another directory"
            )


def _plan(cells: Sequence[Cell], out: Path) -> str:
    """What would be done."""
    done = [cell for cell in cells if (cell.directory(out) / outcome.FILE).is_file()]
    lines = [f"{out}: {len(cells)} runs, {len(done)} of them finished", *_power(cells)]
    for cell in cells:
        step = RunDirectory(cell.directory(out)).step
        state = "finished" if cell in done else f"at step {step}" if step else "not begun"
        lines.append(f"  {cell}: {cell.steps} steps, width {cell.budget.width:g}, {state}")
    return "\n".join(lines)


def _power(cells: Sequence[Cell]) -> list[str]:
    """What so many seeds allow to be told apart: a line where it is nothing."""
    seeds = len({cell.seed for cell in cells})
    labels = {cell.method.label: cell.method for cell in cells}
    controlled = [m for m in labels.values() if m.control is not None and m.control.label in labels]
    count = len(labels) - 1 + len(controlled)
    if VANILLA not in labels or count < 1 or seeds >= pairs_needed(count):
        return []
    return [
        f"  {seeds} seeds cannot tell any of {count} comparisons apart: the smallest corrected p is "
        f"{least_p(seeds, count):.2g}; it takes {pairs_needed(count)} seeds, or fewer methods"
    ]


@dataclass
class _Work:
    """What the runs of a grid share."""

    out: Path
    data: str | Source | None
    scale: Scale
    precision: str
    checkpoint_every: int | None
    device: str | None
    evaluator: Evaluator
    measure_at: tuple[int, ...] = ()
    test_data: str | None = None
    record: Path | None = None

    def all(self, cells: Sequence[Cell], name: str, command: str) -> tuple[str, int]:
        """Every cell, then the table."""
        from sparse_plugin.gans.batches import check

        real = self.real
        for images in self.reals.values():
            self.evaluator.check(self.scale.samples, len(images))
        for cell in cells:  # before the first is trained
            check(real, cell.recipe)
        outcomes: list[Outcome] = []
        failed: list[str] = []
        busy: list[str] = []
        elsewhere = self.elsewhere(cells)
        for number, cell in enumerate(cells, 1):
            if cell in elsewhere:
                continue
            say = partial(_say, f"run {number} of {len(cells)}: {cell}")
            try:
                self.train(cell, say)
                outcomes.append(self.measured(cell) or self.measure(cell, say))
                if self.record is not None:
                    records.add(self.record, [records.of(outcomes[-1])])
            except DivergedError as error:
                failed.append(f"{cell}: {error}")
                say(str(error))
            except BusyError:
                busy.append(str(cell))
                say("another process is at work on it")
        if not outcomes and elsewhere and not failed and not busy:
            return f"all {len(elsewhere)} runs are recorded in {self.record}; `sparse-plugin results` shows them", 0
        if not outcomes:
            return f"no run is finished: {'; '.join([*failed, *busy])}", 1 if failed else 0
        made = table.make(TABLES[name], outcomes, command, failed)
        paths = table.write(made, self.out / name)
        lines = [made.markdown, f"written: {', '.join(map(str, paths))}"]
        lines += [f"another process is at work on {text}; repeat the command when it is done" for text in busy]
        return "\n".join(lines), 1 if failed else 0

    def elsewhere(self, cells: Sequence[Cell]) -> list[Cell]:
        """The runs that are not begun here and need not be: their seed is recorded, from another place, whole."""
        if self.record is None:
            return []
        kind = device_of(self.device).type
        how = outcome.protocol(self.evaluator, self.scale.samples, self.reals)
        done = complete(cells, records.read(self.record), how, self.measure_at, self.precision, kind)
        done = [cell for cell in done if not RunDirectory(cell.directory(self.out)).step]
        if done:
            _say(f"{len(done)} runs", f"their seeds are complete in {self.record}")
        return done

    @cached_property
    def real(self) -> Images:
        """The real images, all of them: what is measured against, and what shares of are trained on."""
        from sparse_plugin.data import load

        return load(self.data, 32)

    @cached_property
    def reals(self) -> dict[str, Images]:
        """What is measured against: the images, and those of the test split, where there are some."""
        from sparse_plugin.data import load

        return {"": self.real} | ({} if self.test_data is None else {"test": load(self.test_data, 32)})

    def measured(self, cell: Cell) -> Outcome | None:
        """What a run that was trained to its end came to, None where it was not measured, or in another way."""
        there = outcome.read(cell.directory(self.out))
        protocol = outcome.protocol(self.evaluator, self.scale.samples, self.reals)
        if there is None or (there.step, there.protocol) != (cell.steps, protocol):
            return None
        return there if all(step in there.by_step for step in self.measure_at) else None

    def train(self, cell: Cell, say: Callable[[str], None]) -> None:
        """Train a run, or go on with it. One that is finished is only compared with what is asked for."""
        from sparse_plugin.gans.train import run as train

        if RunDirectory(cell.directory(self.out)).step < cell.steps:
            say("training")
        every = max(1, min(1000, cell.steps // 5)) if self.checkpoint_every is None else self.checkpoint_every
        train(
            cell.recipe.arch,
            cell.directory(self.out),
            self.real if cell.fraction == 1 else self.real.subset(cell.fraction, cell.seed),
            sparse=cell.method.sparse,
            width=cell.budget.width,
            batch=cell.budget.batch,
            steps=cell.steps,
            seed=cell.seed,
            fraction=cell.fraction,
            precision=self.precision_of(cell),
            checkpoint_every=every,
            keep_at=self.measure_at,
            device=self.device,
        )

    def precision_of(self, cell: Cell) -> str:
        """What was asked for; for "auto" that of the runs that this one is compared with, if one was begun."""
        if self.precision != "auto":
            return self.precision
        beside = sorted(cell.directory(self.out).parent.parent.glob(f"*/seed*/{CONFIG}"))
        return str(RunDirectory(beside[0].parent).config()["precision"]) if beside else "auto"

    def measure(self, cell: Cell, say: Callable[[str], None]) -> Outcome:
        """Measure a trained run."""
        say("measuring")
        directory = cell.directory(self.out)
        with RunDirectory(directory).locked():
            return outcome.measure(
                directory, self.scale.samples, self.evaluator, self.reals, device=self.device, steps=self.measure_at
            )


def _say(what: str, text: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(f"{what}: {text}", highlight=False, markup=False, soft_wrap=True)

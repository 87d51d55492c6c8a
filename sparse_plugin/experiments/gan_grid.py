"""Tables of GANs: their grids of runs, and what they came to beside the paper's numbers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.evaluate.outcome import Outcome
from sparse_plugin.experiments import engine, grid, records
from sparse_plugin.experiments import table as tables
from sparse_plugin.experiments.elsewhere import complete
from sparse_plugin.experiments.gan_run import Conditions, GanRun, Workplace, workplace
from sparse_plugin.experiments.paper import TABLES, PaperTable
from sparse_plugin.experiments.statistics import least_p, pairs_needed
from sparse_plugin.runs.methods import VANILLA
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.support.device import device_of
from sparse_plugin.support.optional import need

if TYPE_CHECKING:
    from sparse_plugin.data import Source


def run_gan_table(
    name: str,
    out: str | Path,
    data: str | Source | None = None,
    *,
    table: PaperTable | None = None,
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
    collect: bool = False,
    command: str = "",
) -> tuple[str, int]:
    """Make a table of the paper: every run that is not finished is trained, or resumed, and measured.

    name: "table1", "table2" or "table3"; table: another one, of that name. out: where the runs and the table are. data: as
    for `train`, CIFAR-10 for the paper's. scale: "paper", the recipes as they are, or "small". archs: rows, by default the
    table's. methods: columns, as in "vanilla", "l0_inf" or "l1:weight=0.1". seeds, width, steps, batch, samples: instead of
    the scale's; samples counts the generated images that are measured. first_seed: seeds count from it on. fractions:
    shares of the data, instead of the table's. controls: with the runs that tell what a method's sparsity does apart
    (ml_csc with k = 1.0). measure_at: earlier steps whose distances are measured. test_data: real images of a test split,
    which are measured against too. record: a file of finished runs, see `records`. metrics, inception, kid_subset: as for
    `metrics.Evaluator`. dry_run: say what would be done. collect: make the table of what is finished, also while runs are
    at work, and train nothing. command: what was asked for, to stand under the table.

    Returns what to say and an exit code: 0, or 1 where a run diverged; all others are finished nevertheless.

    Raises ConfigError for what is not valid before anything is trained, and what `train_run` does.
    """
    table = TABLES.get(name) if table is None else table
    if table is None:
        raise ConfigError(one_of("table", name, TABLES))
    if scale not in grid.SCALES:
        raise ConfigError(one_of("scale", scale, grid.SCALES))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "an experiment does not run under torchrun; start the same command once for every GPU instead"
        )
    need("an experiment", "experiments", "safetensors", "torch_fidelity", "torchvision")
    of = grid.override(grid.SCALES[scale], width, steps, batch, samples)
    conditions = Conditions(
        data=data,
        test_data=test_data,
        samples=of.samples,
        metrics=tuple(metrics),
        inception=inception,
        kid_subset=kid_subset,
        measure_at=tuple(sorted(set(measure_at))),
        precision=precision,
        checkpoint_every=checkpoint_every,
        device=device,
    )
    runs = grid.gan_runs(
        table, of, archs, methods, imports, seeds, first_seed, fractions, controls, Path(out), conditions
    )
    for run in runs:
        run.check()
    made = GanGrid(
        name, table, Path(out), tuple(runs), conditions, command, None if record is None else Path(record)
    )
    if made.recorded is not None:
        records.read(made.recorded)  # a file that is none is to be refused before anything is trained
    if dry_run:
        return engine.plan(made), 0
    return engine.collect(made) if collect else engine.perform(made)


@dataclass
class GanGrid(engine.Grid):
    """The runs of one table of GANs. command: what was asked for, to stand under the table."""

    name: str
    paper: PaperTable
    out: Path
    runs: tuple[GanRun, ...]
    conditions: Conditions
    command: str = ""
    recorded: Path | None = None

    def prepare(self) -> Sequence[GanRun]:
        """Check data and metrics. Returns the runs without those whose seed is recorded, from another place, whole."""
        from sparse_plugin.gans import attaching
        from sparse_plugin.gans.batches import check, check_batch

        workplace.cache_clear()  # data may have changed since
        at = workplace(self.conditions)
        real = at.real
        for images in at.reals.values():
            at.evaluator.check(self.conditions.samples, len(images))
        shares = {share: len(real) if share == 1 else len(real.subset(share)) for share in {run.fraction for run in self.runs}}
        recipes = {run.recipe.arch: run.recipe for run in self.runs}
        classes = {arch: check(real, recipe) for arch, recipe in recipes.items()}
        for run in self.runs:
            check_batch(run.batch, run.recipe.accumulation, shares[run.fraction])
        wanted = self.runs if self.recorded is None else self._not_recorded(self.recorded, at)
        for run in {(run.recipe.arch, run.method.label): run for run in wanted}.values():
            if run.method.sparse is not None and not RunDirectory(run.directory).step:
                attaching.check(run.recipe, run.method.sparse, run.budget.width, classes[run.recipe.arch])
        return wanted

    def _not_recorded(self, recorded: Path, at: Workplace) -> Sequence[GanRun]:
        """The runs that are begun here, or whose seed is not complete in the record."""
        kind = device_of(self.conditions.device).type
        found = [record for record in records.read(recorded) if at.measured(record)]
        done = complete(self.runs, found, at.protocol, self.conditions.measure_at, self.conditions.precision, kind)
        done = [run for run in done if not RunDirectory(run.directory).step]
        if done:
            engine.say_line(f"{len(done)} runs", f"their seeds are complete in {recorded}")
        return [run for run in self.runs if run not in done]

    def render(self, outcomes: Sequence[Any], failed: Iterable[str]) -> tuple[str, list[Path]]:
        """The table, beside the paper's numbers."""
        made = tables.make(self.paper, outcomes, self.command, failed)
        return made.markdown, tables.write(made, self.out / self.name)

    def alike(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Those that were measured in the way of most."""
        ways = [found.protocol for found in outcomes]
        return [found for found in outcomes if found.protocol == max(ways, key=ways.count)]

    def remarks(self) -> list[str]:
        """What so many seeds allow to be told apart: a line where it is nothing."""
        seeds = len({run.seed for run in self.runs})
        labels = {run.method.label: run.method for run in self.runs}
        controlled = [m for m in labels.values() if m.control is not None and m.control.label in labels]
        count = len(labels) - 1 + len(controlled)
        if VANILLA not in labels or count < 1 or seeds >= pairs_needed(count):
            return []
        return [
            f"  {seeds} seeds cannot tell any of {count} comparisons apart: the smallest corrected p is "
            f"{least_p(seeds, count):.2g}; it takes {pairs_needed(count)} seeds, or fewer methods"
        ]

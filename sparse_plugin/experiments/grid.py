"""The runs of a table: architectures, shares of the data, methods, seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments.gan_run import Conditions, GanRun, TrainingBudget
from sparse_plugin.experiments.paper import PaperTable
from sparse_plugin.gans.gan import gan, recipe
from sparse_plugin.runs.methods import Method, methods, with_controls


@dataclass(frozen=True)
class GanScale:
    """What stands the same for all runs of a table.

    full: whether networks and steps are the recipes', not those for two cores. samples: generated images that are measured.
    seeds: runs of each method. width, steps, batch: instead of what an architecture would have.
    """

    full: bool
    samples: int
    seeds: int
    width: float | None = None
    steps: int | None = None
    batch: int | None = None

    def budget(self, arch: str) -> TrainingBudget:
        """Of an architecture."""
        width, steps = (1.0, None) if self.full else gan(arch).small
        return TrainingBudget(
            width if self.width is None else self.width, steps if self.steps is None else self.steps, self.batch
        )


PLAIN = Conditions()
SCALES = {"paper": GanScale(True, samples=50_000, seeds=3), "small": GanScale(False, samples=10_000, seeds=2)}


def gan_runs(
    table: PaperTable,
    scale: GanScale,
    archs: Sequence[str] = (),
    names: Sequence[str] = (),
    imports: Iterable[str] = (),
    seeds: int | None = None,
    first_seed: int = 0,
    fractions: Sequence[float] = (),
    controls: bool = False,
    out: Path = Path(),
    conditions: Conditions = PLAIN,
) -> list[GanRun]:
    """The runs of a table, seed by seed, so that one of everything comes first.

    archs, names, fractions: the table's, where empty; names as for `methods`. controls: with those of methods that have
    one. out, conditions: the grid's. Raises ConfigError for what there is not.
    """
    for arch in archs:
        gan(arch)
    count = scale.seeds if seeds is None else seeds
    if count < 1:
        raise ConfigError(f"{count} seeds were asked for; give 1 or more")
    for what, given in (("architecture", archs), ("fraction", fractions)):
        twice = next((each for each in given if given.count(each) > 1), None)
        if twice is not None:
            raise ConfigError(f"the {what} {twice} is named twice, and its runs would count twice; name each once")
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"fraction is {fraction}; give a share above 0 and up to 1, such as 0.02")

    def compared(arch: str) -> list[Method]:
        found = methods(names or table.methods, arch, imports)
        return with_controls(found) if controls else found

    return [
        GanRun(recipe(arch, 32, fraction), fraction, method, seed, scale.budget(arch), out, conditions)
        for seed in range(first_seed, first_seed + count)
        for arch in archs or table.archs
        for fraction in fractions or table.fractions
        for method in compared(arch)
    ]


def override(scale: GanScale, width: float | None, steps: int | None, batch: int | None, samples: int | None) -> GanScale:
    """A scale with these instead, where they are given."""
    given = {"width": width, "steps": steps, "batch": batch, "samples": samples}
    return replace(scale, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

"""The runs of a table: architectures, shares of the data, methods, seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.experiments.paper import PaperTable
from sparse_plugin.gans.recipes import ARCHITECTURES, Recipe, recipe
from sparse_plugin.runs.methods import Method, methods, with_controls


@dataclass(frozen=True)
class Budget:
    """How long and how wide the runs of an architecture are. steps, batch: None for the recipe's."""

    width: float = 1.0
    steps: int | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Scale:
    """What stands the same for all runs of a table.

    budgets: by architecture, "" for all others. samples: generated images that are measured. seeds: runs of each method.
    """

    budgets: dict[str, Budget]
    samples: int
    seeds: int

    def budget(self, arch: str) -> Budget:
        """Of an architecture."""
        return self.budgets.get(arch, self.budgets[""])


# For a machine with two cores and no GPU, where DCGAN's 3000 steps and SNGAN's 1500 take 12 minutes of one core each.
_DECONVOLUTIONS, _RESNETS = Budget(0.5, 3000), Budget(0.125, 1500)
SCALES = {
    "paper": Scale({"": Budget()}, samples=50_000, seeds=3),
    "small": Scale(
        {"": _RESNETS, **dict.fromkeys(("dcgan", "cgan", "wgan_gp", "msgan"), _DECONVOLUTIONS)}, samples=10_000, seeds=2
    ),
}


@dataclass(frozen=True)
class Cell:
    """One run of a table."""

    recipe: Recipe
    fraction: float
    method: Method
    seed: int
    budget: Budget

    @property
    def steps(self) -> int:
        """Updates of the generator."""
        return self.recipe.steps if self.budget.steps is None else self.budget.steps

    def directory(self, out: Path) -> Path:
        """Where the run is: out/dcgan/l0_inf-k=0.25/seed0, with a level more where the data are limited."""
        share = [] if self.fraction == 1 else [f"{self.fraction:g}"]
        return Path(out, self.recipe.arch, *share, self.method.label, f"seed{self.seed}")

    def __str__(self) -> str:
        share = "" if self.fraction == 1 else f" on {100 * self.fraction:g} %"
        return f"{self.recipe.title}{share}, {self.method.label}, seed {self.seed}"


def cells(
    table: PaperTable,
    scale: Scale,
    archs: Sequence[str] = (),
    names: Sequence[str] = (),
    imports: Iterable[str] = (),
    seeds: int | None = None,
    first_seed: int = 0,
    fractions: Sequence[float] = (),
    controls: bool = False,
) -> list[Cell]:
    """The runs of a table, seed by seed, so that one of everything comes first.

    archs, names, fractions: the table's, where empty; names as for `methods`. controls: with those of methods that have
    one. Raises ConfigError for what there is not.
    """
    for arch in archs:
        if arch not in ARCHITECTURES:
            raise ConfigError(one_of("architecture", arch, ARCHITECTURES))
    count = scale.seeds if seeds is None else seeds
    if count < 1:
        raise ConfigError(f"{count} seeds were asked for; give 1 or more")
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"fraction is {fraction}; give a share above 0 and up to 1, such as 0.02")

    def compared(arch: str) -> list[Method]:
        found = methods(names or table.methods, arch, imports)
        return with_controls(found) if controls else found

    return [
        Cell(recipe(arch, 32, fraction), fraction, method, seed, scale.budget(arch))
        for seed in range(first_seed, first_seed + count)
        for arch in archs or table.archs
        for fraction in fractions or table.fractions
        for method in compared(arch)
    ]


def override(scale: Scale, width: float | None, steps: int | None, batch: int | None, samples: int | None) -> Scale:
    """A scale with these instead, where they are given."""
    budgets = {
        arch: Budget(
            budget.width if width is None else width,
            budget.steps if steps is None else steps,
            budget.batch if batch is None else batch,
        )
        for arch, budget in scale.budgets.items()
    }
    return replace(scale, budgets=budgets, samples=scale.samples if samples is None else samples)

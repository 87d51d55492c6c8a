"""An experiment as it is registered: what `sparse-plugin experiment NAME` does.

The built-in ones come in through entry points of the group `sparse_plugin.experiments`, as any installed package's may.
Nothing here imports torch: the command line asks what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparse_plugin.experiments.paper import PaperTable
from sparse_plugin.support.plugins import Plugins, called_from

# The options of a command of one's own, or the name of those of a table of GANs or of restorations.
GANS, RESTORATIONS = "gans", "restorations"


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    help: of its command, what it measures first. options: GANS, RESTORATIONS, or click's decorators, innermost last.
    run: called with the grid's directory and the options by their names; returns what to say and an exit code.
    """

    name: str
    help: str
    options: str | tuple[Callable[[Any], Any], ...]
    run: Callable[..., tuple[str, int]]


EXPERIMENTS: Plugins[Any] = Plugins("experiment", ("name", "help", "options", "run"), "an Experiment")


def register_experiment(made: Experiment) -> Experiment:
    """Register an experiment under its name in this process. Raises ConfigError where another owner has the name."""
    EXPERIMENTS.register(getattr(made, "name", None), made, called_from())
    return made


def gan_table(name: str, table: PaperTable, help: str) -> Experiment:
    """The experiment that makes a table of GANs: its rows, columns and shares of the data, beside the paper's numbers."""

    def run(out: str, data: Any, **options: Any) -> tuple[str, int]:
        from sparse_plugin.experiments.gan_grid import run_gan_table

        return run_gan_table(name, out, data, table=table, **options)

    again = (
        "The same command again skips finished runs and resumes others; started once for every GPU, each process takes "
        "runs in which no other is at work."
    )
    return Experiment(name, f"{help}\n\n{again}", GANS, run)

"""`sparse-plugin experiment`: the paper's tables, and what else is registered."""

from __future__ import annotations

import shlex
import sys
from collections.abc import MutableMapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from sparse_plugin.commands.engines import ENGINE, placing, planning_status, taken
from sparse_plugin.commands.options import data_options, imported, source_of, steps_of
from sparse_plugin.errors import ConfigError

if TYPE_CHECKING:
    from sparse_plugin.experiments.experiment import Experiment

ENDING = (
    click.option("--dry-run", is_flag=True, help="Say what would be run."),
    click.option("--collect", is_flag=True, help="Make the table of the runs that are finished, and run nothing."),
)
GANS = (
    data_options("Images, as for train.", "cifar10"),
    click.option(
        "--scale", default="small", show_default=True, help="small, for two cores; or paper: the recipes as they are."
    ),
    click.option("--archs", multiple=True, metavar="NAME,...", help="Rows.  [default: the paper's]"),
    click.option(
        "--methods",
        multiple=True,
        metavar="NAME,...",
        help="Columns, as in \"vanilla,l0_inf,l1:weight=0.1\".  [default: the paper's, with the recipes' settings]",
    ),
    click.option("--seeds", type=int, help="Runs of each method.  [default: 2, or 3 at the paper's scale]"),
    click.option("--first-seed", default=0, show_default=True, help="Seeds count from it on."),
    click.option(
        "--fraction",
        "fractions",
        type=float,
        multiple=True,
        help="A share of the data; repeatable.  [default: the table's]",
    ),
    click.option("--no-control", is_flag=True, help="Leave out ml_csc with k = 1.0, the added layer without sparsity."),
    click.option("--width", type=float, help="Multiplies all channels, instead of the scale's."),
    click.option("--steps", type=int, help="Instead of the scale's."),
    click.option("--batch", type=int, help="Instead of the recipe's."),
    click.option("--samples", type=int, help="Images to measure.  [default: 10000, or 50000 at the paper's scale]"),
    click.option("--precision", default="float32", show_default=True, help="float32, bfloat16, float16 or auto, as for train."),
    click.option("--metric", "metrics", multiple=True, metavar="NAME", help="As for evaluate; repeatable."),
    click.option("--inception", metavar="FILE", help="Inception's weights, for FID and IS; as for evaluate."),
    click.option("--kid-subset", type=int, help="As for evaluate."),
    click.option("--checkpoint-every", type=int, help="In steps.  [default: a fifth of a run, at most 1000]"),
    click.option("--measure-at", metavar="STEP,...", default="", help="Earlier steps to measure, as 2000,4000."),
    click.option("--test-data", metavar="PATH", help="Real images of a test split, to be measured against too."),
    click.option("--record", metavar="FILE", help="Add finished runs to it, a line each, for `results`."),
    click.option(
        "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
    ),
    click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]"),
    *ENDING,
)
RESTORATIONS = (
    click.option(
        "--images", multiple=True, metavar="PATH", help="A file or folder; repeatable.  [default: built-in photographs]"
    ),
    click.option(
        "--scale", default="small", show_default=True, help="small: squares of 128 pixels, 1000 iterations; or paper."
    ),
    click.option("--crop", type=int, metavar="N", help="Denoise the central square of N pixels."),
    click.option("--runs", type=int, help="Of each image and method.  [default: 1, or 3 at the paper's scale]"),
    click.option("--iterations", type=int, help="Instead of the scale's."),
    click.option(
        "--methods", multiple=True, metavar="NAME,...", help='Columns, as in "vanilla,l0:k=0.5".  [default: the paper\'s]'
    ),
    click.option("--width", default=1.0, show_default=True, help="Multiplies the network's channels."),
    click.option("--record", metavar="FILE", help="Add finished runs to it, a line each, for `results`."),
    click.option(
        "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
    ),
    click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda where it is]"),
    *ENDING,
)


class _Experiments(click.Group):
    """A command for each experiment that is registered, which is looked up where somebody asks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from sparse_plugin.experiments.experiment import EXPERIMENTS

        return list(EXPERIMENTS.all())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from sparse_plugin.experiments.experiment import EXPERIMENTS

        return _command(EXPERIMENTS.get(cmd_name)) if cmd_name in EXPERIMENTS.all() else None

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """All of them, for what walks through a command line."""
        from sparse_plugin.experiments.experiment import EXPERIMENTS

        return {name: _command(found) for name, found in EXPERIMENTS.usable()}

    @commands.setter
    def commands(self, given: MutableMapping[str, click.Command]) -> None:
        """click's constructor gives none."""


@click.group(cls=_Experiments)
def experiment() -> None:
    """Make a table of the paper: train and measure its grid of runs, and collect them beside the paper's numbers."""


def _command(of: Experiment) -> click.Command:
    from sparse_plugin.experiments import experiment as families

    def command(out: str, **options: Any) -> None:
        from sparse_plugin.support.optional import need

        need("an experiment", "experiments", "numpy", "PIL")  # which importing it takes
        asked = taken(options)
        _one_of_them(asked["status"], options)
        given = _read(of.options, options)
        idle = bool(asked["status"] or given.get("dry_run") or given.get("collect"))
        if asked["status"] and "dry_run" not in given:
            raise ConfigError(f"the experiment {of.name} has no --dry-run, by which its runs would be known; leave --status out")
        line = shlex.join(["sparse-plugin", *sys.argv[1:]])
        with ExitStack() as stack:
            if asked["status"]:
                given["dry_run"] = True
                stack.enter_context(planning_status(asked["as_json"]))
            of_runs = {"device": given.get("device"), "imports": given.get("imports") or ()}
            stack.enter_context(placing(asked, out, f"the experiment {of.name}", idle, **of_runs))
            said, code = of.run(out, **given, command=line)
        click.echo(said)
        sys.exit(code)

    shared = {families.GANS: GANS, families.RESTORATIONS: RESTORATIONS}
    place = click.option(
        "--out",
        metavar="DIR",
        default=f"runs/{of.name}",
        show_default=True,
        help="Where the runs and the table are.",
    )
    options = shared[of.options] if isinstance(of.options, str) else of.options
    made: Any = command
    for option in reversed((place, *options, *ENGINE)):
        made = option(made)
    return click.command(of.name, help=of.help)(made)


def _one_of_them(status: bool, options: dict[str, Any]) -> None:
    """Raise ConfigError where several options ask for something else than the runs: one alone would have an effect."""
    others = {"--status": status, "--dry-run": options.get("dry_run"), "--collect": options.get("collect")}
    given = [name for name, value in others.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} were given, of which only one is done; give one")


def _named(options: dict[str, Any], name: str) -> list[str]:
    """The items of a list. Raises ConfigError where one was given that names none: the table's would be taken for it."""
    from sparse_plugin.runs.methods import split

    found = split(options[name])
    if options[name] and not found:
        raise ConfigError(f"--{name} was given and names none; name some, or leave it out")
    return found


def _read(family: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What lists and files of the options of a family say."""
    from sparse_plugin.experiments import experiment as families

    if family not in (families.GANS, families.RESTORATIONS):
        return options
    options["methods"] = _named(options, "methods")
    options["imports"] = imported(options["imports"])
    if family == families.GANS:
        options["data"] = source_of(options)
        options["archs"] = _named(options, "archs")
        options["measure_at"] = steps_of(options["measure_at"], "--measure-at")
        options["controls"] = not options.pop("no_control")
    return options

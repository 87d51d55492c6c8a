"""`sparse-plugin run`."""

from __future__ import annotations

import sys
from typing import Any

import click

from sparse_plugin.commands.derived import DerivedOption, installed
from sparse_plugin.commands.options import config_of, config_options


@click.command(context_settings={"ignore_unknown_options": False})
@config_options
@click.option(
    "--generator",
    metavar="MODULE:CLASS",
    help='The generator\'s class in a host that is not known, as in "__main__:Generator".',
)
@click.option("--discriminator", metavar="MODULE:CLASS", help="The discriminator's, where sparse.role is discriminator.")
@click.option(
    "--host",
    cls=DerivedOption,
    derive=lambda: f"Patch this host only: {installed('host')}, or a registered one.",
    metavar="NAME",
)
@click.option(
    "--run-dir", metavar="DIR", help="Where measurements are logged.  [default: the host's, else sparse_runs/<time>-<process>]"
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(command: tuple[str, ...], run_dir: str | None, host: str | None, **options: Any) -> None:
    """Run a script that does not know of the plugin, with the plugin on.

    \b
        sparse-plugin run --sparse l0_inf --set sparse.k=16 -- python train.py --its --own --flags

    Exits with the script's own code, or with 3 where the script succeeded and nothing was regularized.
    """
    from sparse_plugin.hosts.launch import run_command

    config = config_of(**options, host=host, run_dir=run_dir)
    sys.exit(run_command(command, config))

"""The command line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from sparse_plugin import __version__
from sparse_plugin.errors import SparsePluginError


class _Group(click.Group):
    """Prints a user's mistake as a sentence, not a traceback, and exits 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SparsePluginError as error:
            raise _Mistake(error) from None


class _Mistake(click.ClickException):
    def __init__(self, error: SparsePluginError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        click.echo(f"sparse-plugin: {self.message}", err=True)


def main() -> None:
    """The entry point of `sparse-plugin` and `python -m sparse_plugin`."""
    cli(prog_name="sparse-plugin")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 80})
@click.version_option(__version__, package_name="sparse-plugin")
def cli() -> None:
    """Sparse-modeling regularization for image generators that other people wrote.

    Exit codes: 0 done, 1 failed, 2 a mistake in what was asked, 3 the command ran and nothing was regularized.
    """


for _name in (
    "run", "check", "sites", "list", "strip", "train", "evaluate", "experiment", "figure", "restore", "demo",
):  # fmt: skip
    _module = import_module(f"sparse_plugin.commands.{_name}")
    cli.add_command(getattr(_module, "list_" if _name == "list" else _name))

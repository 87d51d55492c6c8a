"""The command line."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any

import click

from sparse_plugin.errors import SparsePluginError
from sparse_plugin.support import advice
from sparse_plugin.support.allocator import keep_pages
from sparse_plugin.support.version import __version__

# Options of which nothing is something: no value of YAML, the whole of a checkpoint, no steps.
_MAY_BE_EMPTY = ("--arg", "--key", "--keep-at", "--measure-at")


class _Group(click.Group):
    """Prints a user's mistake as a sentence, not a traceback, and exits 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if (what := _without_a_value(args)) is not None:
            raise _Mistake(f"{what} is given as an empty text, as by a variable that is not set; give a value, or leave it out", 2)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a file's name need not be text
        with advice.speaking_to("command"):
            try:
                return super().invoke(ctx)
            except SparsePluginError as error:
                raise _Mistake(str(error), error.exit_code) from None
            except BrokenPipeError:
                raise
            except OSError as error:  # what the system refused, where nobody has said it better
                from sparse_plugin.support.files import reason

                raise _Mistake(f"{error.filename}: {reason(error)}" if error.filename else reason(error), 1) from None
            except MemoryError:
                raise _Mistake("there is not enough memory", 1) from None


def _without_a_value(words: list[str]) -> str | None:
    """The option or argument of a command line that is given as an empty text, None where none is.

    As a path it would be the folder in which the command is typed, which nobody means who has left a variable unset.
    """
    ours = words[: words.index("--")] if "--" in words else words
    for before, word in zip(["", *ours], ours, strict=False):
        option, equals, value = word.partition("=")
        if equals and not value and option.startswith("--"):
            before, word = option, ""
        if word or before in _MAY_BE_EMPTY:
            continue
        if before.startswith("-"):
            return before
        if words[0] not in ("run", "tune"):  # the words of another program
            return f"an argument of {words[0]}" if words[0] else "the command"
    return None


class _Mistake(click.ClickException):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        # Names and texts out of files may hold what a terminal obeys.
        said = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in self.message)
        click.echo(f"sparse-plugin: {said}", err=True)


def main() -> None:
    """The entry point of `sparse-plugin` and `python -m sparse_plugin`."""
    cli(prog_name="sparse-plugin")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 80})
@click.version_option(__version__, package_name="sparse-plugin")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Sparse-modeling regularization for image generators that other people wrote.

    Exit codes: 0 done, 1 failed, 2 a mistake in what was asked, 3 the command ran and nothing was regularized.
    """
    if ctx.invoked_subcommand != "run":  # whose process is another's program
        keep_pages()


for _name in (
    "run", "check", "sites", "list", "strip", "train", "evaluate", "theory", "experiment", "figure", "results", "restore", "tune", "demo",
):  # fmt: skip
    _module = import_module(f"sparse_plugin.commands.{_name}")
    cli.add_command(getattr(_module, "list_" if _name == "list" else _name))

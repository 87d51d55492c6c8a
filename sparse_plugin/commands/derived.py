"""Help texts that say what is registered, made when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def installed(kind: str) -> str:
    """The plugins of one kind that packages bring, by name."""
    from sparse_plugin.support.plugins import installed as names

    return ", ".join(names(kind))


class DerivedOption(click.Option):
    """An option whose help is what `derive` returns."""

    def __init__(self, *args: Any, derive: Callable[[], str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.derive = derive

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.help = self.derive()
        return super().get_help_record(ctx)


class DerivedCommand(click.Command):
    """A command that says what is registered in its help, as it is when somebody asks. written: the help in its source."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.written = self.help or ""

    def derive(self) -> None:
        """Set what is shown."""
        raise NotImplementedError

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.derive()
        super().format_help(ctx, formatter)

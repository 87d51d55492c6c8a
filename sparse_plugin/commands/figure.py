"""`sparse-plugin figure`."""

from __future__ import annotations

import click

from sparse_plugin.commands.derived import DerivedCommand
from sparse_plugin.commands.options import imported


class _Figure(DerivedCommand):
    def derive(self) -> None:
        """Say which figures there are, in the usage and below the sentence."""
        from sparse_plugin.figures.kind import figures, listed

        kinds = next(parameter for parameter in self.params if parameter.name == "kind")
        kinds.metavar = "|".join(figures())
        rows = listed()
        width = max((len(names) for names, _ in rows), default=0)
        lines = (f"    {names:<{width}}  {help}" for names, help in rows)
        self.help = "\n".join(["Draw a figure of the paper from runs: directories of runs, or that hold runs.", "", "\b", *lines])


@click.command(cls=_Figure)
@click.argument("kind", metavar="KIND")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("-o", "--out", "path", metavar="FILE", help=".png, .svg or .pdf.  [default: figure-KIND.png]")
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def figure(kind: str, runs: tuple[str, ...], path: str | None, force: bool, imports: tuple[str, ...]) -> None:
    """Draw a figure of the paper from runs: directories of runs, or that hold runs."""
    from sparse_plugin.figures import make

    imported(imports)
    click.echo(make(kind, runs, path or f"figure-{kind}.png", force))

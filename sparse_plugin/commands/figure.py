"""`sparse-plugin figure`."""

from __future__ import annotations

import click

from sparse_plugin.commands.options import imported


@click.command()
@click.argument("kind", metavar="4a|4b|A|B|training|psnr")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("-o", "--out", "path", metavar="FILE", help=".png, .svg or .pdf.  [default: figure-KIND.png]")
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def figure(kind: str, runs: tuple[str, ...], path: str | None, force: bool, imports: tuple[str, ...]) -> None:
    """Draw a figure of the paper from runs: directories of runs, or that hold runs.

    \b
        4a, B     sparsity level and distance of every method
        4b        needle density at every position, every method
        A         atoms of D1 and of D_eff, of one run
        training  losses and sparsity level over steps
        psnr      PSNR over the iterations of table 4
    """
    from sparse_plugin.figures import make

    imported(imports)
    click.echo(make(kind, runs, path or f"figure-{kind}.png", force))

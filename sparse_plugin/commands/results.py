"""`sparse-plugin results`."""

from __future__ import annotations

import click


@click.command()
@click.argument("file", metavar="RUNS.jsonl")
@click.option(
    "--page", "pages", multiple=True, metavar="FILE", help="A Markdown file whose blocks are written anew; repeatable."
)
@click.option("--no-figures", is_flag=True, help="Leave the pictures beside RUNS.jsonl out.")
def results(file: str, pages: tuple[str, ...], no_figures: bool) -> None:
    """Tables, figures and words from recorded runs: methods paired by seed, with interval, exact p and Holm's.

    \b
        sparse-plugin experiment table1 --archs dcgan --seeds 8 --record runs.jsonl
        sparse-plugin results runs.jsonl
    """
    from sparse_plugin.figures.pages import make

    click.echo(make(file, pages, not no_figures))

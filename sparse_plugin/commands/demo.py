"""`sparse-plugin demo`."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--steps", default=300, show_default=True, type=click.IntRange(2), help="Generator steps of each of the two runs."
)
@click.option("--out", "folder", default="demo", show_default=True, help="Where the page and the picture go.")
def demo(steps: int, folder: str) -> None:
    """Train mimicry's SNGAN-32 without and with l0_inf on photographs, and write a page that compares them."""
    from sparse_plugin.demo.run import make_demo

    click.echo(make_demo(steps, folder))

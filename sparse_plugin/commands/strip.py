"""`sparse-plugin strip`."""

from __future__ import annotations

import click

from sparse_plugin.support.progress import busy


@click.command()
@click.argument("checkpoint", type=click.Path(dir_okay=False))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), help="Where to write; never over a file."
)
def strip(checkpoint: str, output: str) -> None:
    """Write a checkpoint without the plugin's settings, for code that loads it without the plugin.

    The generator's samples then come from a representation that is not projected.
    """
    from sparse_plugin.attachment.strip import strip_file

    with busy(f"reading {checkpoint}"):
        found = strip_file(checkpoint, output)
    click.echo(f"{output}: without {found}" if found else f"{output}: the checkpoint was trained without sparse_plugin")

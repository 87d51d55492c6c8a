"""`sparse-plugin sites`."""

from __future__ import annotations

import json
import sys

import click

from sparse_plugin.commands.options import print_rows
from sparse_plugin.support.progress import busy


@click.command()
@click.argument("generator", metavar="MODULE:CLASS")
@click.option(
    "--arg", "arguments", multiple=True, metavar="[KEY=]VALUE", help="For the constructor, read as YAML; repeatable."
)
@click.option(
    "--input", "inputs", multiple=True, metavar="SHAPE", help='Of one forward, as in "4x128"; labels as "4:int<10".'
)
@click.option("--import", "imports", multiple=True, metavar="FILE", help="A .py file or module to import first.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def sites(
    generator: str, arguments: tuple[str, ...], inputs: tuple[str, ...], imports: tuple[str, ...], as_json: bool
) -> None:
    """Where Γ is in a generator that can be imported: the candidates, their shapes, and what would be chosen and why.

    \b
        sparse-plugin sites torch_mimicry.nets.sngan:SNGANGenerator32 --input 2x128

    Exits 3 where D1 cannot be told.
    """
    from sparse_plugin.hosts.site_report import inspect

    with busy(f"running {generator} once"):
        report = inspect(generator, arguments, inputs, imports)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        print_rows(report["candidates"], False)
        click.echo(
            f"\n{report['generator']}: image {report['image']}; site: {report['site'] or 'none'} ({report['why']})"
        )
    sys.exit(0 if report["site"] else 3)

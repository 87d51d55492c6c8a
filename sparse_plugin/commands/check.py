"""`sparse-plugin check`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from sparse_plugin.commands.options import print_rows
from sparse_plugin.support.progress import busy


@click.command()
@click.argument("folder", metavar="HOST_DIR")
@click.option("--host", metavar="NAME", help="The host patch to use.  [default: the one that knows the folder]")
@click.option("--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers hosts.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(folder: str, host: str | None, imports: tuple[str, ...], as_json: bool) -> None:
    """Whether the plugin fits somebody's code: which host it is, where Γ is, how its loss is reached, how to turn it on.

    Nothing is trained. Exits 3 where it would not attach.
    """
    from sparse_plugin.hosts.check import check as look

    with busy(f"building and running the generators in {folder}"):
        reports = look(folder, host, imports)
    if as_json:
        click.echo(json.dumps(reports, indent=1, ensure_ascii=False))
    else:
        for report in reports:
            _print_check(report)
    sys.exit(0 if all(report["attaches"] for report in reports) else 3)


def _print_check(report: dict[str, Any]) -> None:
    click.echo(f"host    {report['host'] or 'none that is known'}, in {report['root']}")
    click.echo(f"source  {report['source']}" + "".join(f"; it has no {spec}" for spec in report["missing"]))
    click.echo(f"loss    {report['loss']}")
    for line in report["unread"]:
        click.echo(f"unread  {line}")
    for line in report["switch"]:
        click.echo(f"on      {line}")
    click.echo()
    rows = []
    for generator in report["generators"]:
        for site in generator["sites"] or [{"gamma": "", "where": generator["error"], "shape": "", "density": ""}]:
            rows.append({"generator": generator["name"], **site})
    print_rows(rows, False)
    if not report["attaches"]:
        verdict = f"IT WOULD NOT ATTACH: {report['why']}"
    elif any(generator["sites"] for generator in report["generators"]):
        verdict = "It attaches."
    else:
        verdict = (
            "Nothing was built; a run attaches when its script builds a generator, and checks in the first forward."
        )
    click.echo(f"\n{verdict}\n")

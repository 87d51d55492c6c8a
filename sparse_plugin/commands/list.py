"""`sparse-plugin list`."""

from __future__ import annotations

from typing import Any

import click

from sparse_plugin.commands.options import print_rows
from sparse_plugin.errors import SparsePluginError
from sparse_plugin.support.progress import busy
from sparse_plugin.support.user_files import import_named


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--kernels", is_flag=True, help="The projections' kernels on this machine instead.")
@click.option(
    "--import", "imports", multiple=True, metavar="FILE", help="A .py file or module that registers regularizers."
)
def list_(as_json: bool, kernels: bool, imports: tuple[str, ...]) -> None:
    """What is registered, and which package it came from."""
    from sparse_plugin.experiments.experiment import EXPERIMENTS
    from sparse_plugin.figures.kind import FIGURES
    from sparse_plugin.gans.gan import GANS
    from sparse_plugin.hosts.host import HOSTS
    from sparse_plugin.metrics.tables import EXTRACTORS, METRICS
    from sparse_plugin.network.adapters import ADAPTERS
    from sparse_plugin.registry import REGULARIZERS
    from sparse_plugin.support.sinks.sink import SINKS

    for name in imports:
        import_named(name)
    if kernels:
        from sparse_plugin.projections import kernel_status

        with busy("loading the kernels"):
            rows: list[dict[str, Any]] = [dict(row) for row in kernel_status()]
    else:
        tables: tuple[Any, ...] = (REGULARIZERS, ADAPTERS, HOSTS, GANS, EXPERIMENTS, METRICS, EXTRACTORS, FIGURES, SINKS)
        for plugins in tables:
            plugins.check()
        rows = [
            {"kind": plugins.kind, "name": plugin.name, "from": plugin.origin, "fields": _fields(plugins, plugin.name)}
            for plugins in tables
            for plugin in plugins.all().values()
        ]
    print_rows(rows, as_json)


def _fields(plugins: Any, name: str) -> str:
    """A regularizer's fields, with their defaults; or why it does not load."""
    try:
        plugin = plugins.get(name)
    except SparsePluginError as error:
        return f"broken: {error}"
    if plugins.kind != "regularizer":
        return ""
    return ", ".join(
        key if field.is_required() else f"{key}={field.default}" for key, field in plugin.model_fields.items()
    )

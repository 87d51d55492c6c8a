"""The metrics and the extractors that are registered, and the names that they are asked for by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sparse_plugin.errors import ConfigError, one_of, shown
from sparse_plugin.support.plugins import Plugins, caller_origin

if TYPE_CHECKING:
    from sparse_plugin.metrics.extractor import Extractor
    from sparse_plugin.metrics.metric import Metric

C = TypeVar("C", bound=type)

METRICS: Plugins[type[Metric]] = Plugins(
    "metric", ("title", "rows", "on", "measure"), "a class derived from Metric, with a title and rows", classes=True
)
EXTRACTORS: Plugins[type[Extractor]] = Plugins(
    "extractor", ("batch", "protocol", "dimensions", "forward"), "a class derived from Extractor", classes=True
)


def register_metric(name: str) -> Callable[[C], C]:
    """Class decorator that registers a metric in this process, under name: lower-case letters, digits and underscores.

    Raises ConfigError where the class is none, or another owner has the name.
    """
    return partial(_register, METRICS, name)


def register_extractor(name: str) -> Callable[[C], C]:
    """Class decorator that registers an extractor in this process: metrics on it are called by its name, "FD-NAME".

    Raises ConfigError as `register_metric` does.
    """
    return partial(_register, EXTRACTORS, name)


def _register(table: Plugins[Any], name: str, cls: C) -> C:
    missing = [offer for offer in table.offers if not hasattr(cls, offer)]
    if not isinstance(cls, type) or missing:
        raise ConfigError(
            f"{shown(cls)} cannot be registered as {shown(name)}: it must be {table.what}"
            + (f"; it has no {', '.join(missing)}" if missing else "")
        )
    table.register(name, cls, caller_origin(cls))
    return cls


class Asked(NamedTuple):
    """A metric on an extractor. plugin: the name that the metric is registered under."""

    plugin: str
    metric: type[Metric]
    extractor: str


def metrics() -> list[tuple[str, type[Metric]]]:
    """The metrics that load, by the names they are registered under, in the order of reports."""
    return sorted(METRICS.usable(), key=lambda pair: (pair[1].order, pair[0]))


def names(extractors: Iterable[str] | None = None) -> dict[str, Asked]:
    """Every metric on every one of these extractors, by default those of EXTRACTORS, by the name it is asked for."""
    found: dict[str, Asked] = {}
    for extractor in EXTRACTORS.all() if extractors is None else extractors:
        for plugin, metric in metrics():
            if metric.only is not None and extractor not in metric.only:
                continue
            asked = found.setdefault(metric.on(extractor), Asked(plugin, metric, extractor))
            if asked.plugin != plugin:
                METRICS.leave_out(plugin, f"{METRICS.described(plugin)} is called {metric.on(extractor)}, as {asked.plugin} is")
    return found


def by_default(extractor: str) -> dict[str, Asked]:
    """What is measured on an extractor where nobody says what."""
    return {name: asked for name, asked in names([extractor]).items() if asked.metric.by_default}


def named(asked: Iterable[str]) -> dict[str, Asked]:
    """The metrics of these names, in any case, on torch-fidelity's extractors too. Raises ConfigError for one that there is not."""
    known = {name.lower(): (name, found) for name, found in names().items()}
    found = {}
    for name in asked:
        if name.lower() not in known:
            from sparse_plugin.metrics.fidelity import names as further

            known = {each.lower(): (each, one) for each, one in names(further()).items()} | known
        if name.lower() not in known:
            raise ConfigError(f"{one_of('metric', name, names())} {_further()}")
        proper, which = known[name.lower()]
        found[proper] = which
    return found


def better(score: str) -> str:
    """Which scores of this name are better: "lower" or "higher"."""
    for _, metric in metrics():
        for row, which in metric.rows.items():
            if score.startswith(f"{row}-") or score in (metric.called.values() if row == metric.title else ()):
                return which
    return "higher"


def _further() -> str:
    titles = [metric.title for _, metric in metrics() if metric.only is None]
    return f"{', '.join(titles)} are measured on torch-fidelity's extractors too, as in {titles[0]}-clip-vit-b-32" if titles else ""

"""`Kind`: a figure that `sparse-plugin figure` draws, and the table of them; one file each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.support.plugins import Plugins, called_from

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trained_runs(folders: Sequence[str]) -> list[Any]:
    """The directories of the trained runs that folders are or hold, as Paths; see `outcome.find`."""
    from sparse_plugin.evaluate import outcome

    return list(outcome.find(list(folders)))


@dataclass(frozen=True)
class Kind:
    """A figure. help: what it shows, in a line. draw: what draws it, of what find returns, as matplotlib's Figure. find:
    what it is drawn from, of the directories that were named; both raise ConfigError for runs that lack what it shows.
    order: its place among the others; the paper's come first.
    """

    help: str
    draw: Callable[[Any], Figure]
    find: Callable[[Sequence[str]], Sequence[Any]] = trained_runs
    order: int = 100


FIGURES: Plugins[Kind] = Plugins("figure", ("help", "draw", "find", "order"), "a Kind object")


def register_figure(name: str, kind: Kind) -> Kind:
    """Register a figure in this process, under name. Returns it. Raises ConfigError where another owner has the name."""
    FIGURES.register(name, kind, called_from())
    return kind


def figures() -> dict[str, Kind]:
    """The figures that load, by name, in the order that they declare."""
    return dict(sorted(FIGURES.usable(), key=lambda pair: (pair[1].order, pair[0])))


def named(name: str) -> Kind:
    """The figure of a name, in any case. Raises ConfigError where there is none, or it does not load."""
    known = {each.lower(): each for each in FIGURES.all()}
    if name.lower() not in known:
        raise ConfigError(one_of("figure", name, FIGURES.all()))
    return FIGURES.get(known[name.lower()])


def listed() -> list[tuple[str, str]]:
    """What `figure --help` lists: the names of each figure, and what it shows."""
    rows: dict[int, tuple[list[str], str]] = {}
    for name, kind in figures().items():
        rows.setdefault(id(kind), ([], kind.help))[0].append(name)
    return [(", ".join(names), help) for names, help in rows.values()]

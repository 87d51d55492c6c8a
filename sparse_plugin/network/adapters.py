"""Adapters say where Γ is in the generators of one codebase."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sparse_plugin.errors import ConfigError, SparsePluginError, shown
from sparse_plugin.support.plugins import Plugins, called_from

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.network.sites import Site


# The path of D1, or of D1's and further sites; or what tells it of a generator, where it depends on its size.
Row = str | list[str] | Callable[["nn.Module"], str | list[str] | None]


class Framework(Protocol):
    """What tells whether a module that was imported is its own: a host."""

    def owns(self, module: Any) -> bool: ...


class Adapter:
    """A table of generator classes: `"package.module:Class"` or `"Class"` -> the path of D1, as in `"c5"`.

    A value may name a side, `"down1:output"`, or be a list of such, one a representation, or a function of the generator
    that returns one of these, or None for one that it was not written for. A key's module also stands for the modules below it.
    host: the host whose classes these are, where other codebases have modules of the same names. Subclass and override `matches` and
    `sites` where a table is not enough. follows_input: whether `sites` takes, beside the generator, the inputs of one forward.
    """

    follows_input = False

    def __init__(self, name: str, table: Mapping[str, Row], host: Framework | None = None) -> None:
        if not isinstance(table, Mapping):
            raise ConfigError(
                f"the table of adapter {shown(name)} is {shown(table)}; give a mapping of classes to paths"
            )
        self.name = name
        self.table = dict(table)
        self.host = host

    def matches(self, generator: nn.Module) -> bool:
        """Whether this adapter knows generator's class or one that it derives from."""
        return self._paths(generator) is not None

    def sites(self, generator: nn.Module, *args: Any, **kwargs: Any) -> tuple[Site, ...]:
        """The sites of a generator that matches. Raises ConfigError for one that does not."""
        from sparse_plugin.network.sites import Site

        row = self._paths(generator)
        if row is None:
            raise ConfigError(
                f"adapter {self.name!r} does not know {type(generator).__name__}; it knows {', '.join(self.table)}"
            )
        return tuple(Site.parse(text, level) for level, text in enumerate([row] if isinstance(row, str) else row, 1))

    def _paths(self, generator: nn.Module) -> str | list[str] | None:
        row = self._row(generator)
        return row(generator) if callable(row) else row

    def _row(self, generator: nn.Module) -> Row | None:
        for cls in type(generator).__mro__:
            for key, row in self.table.items():
                module, _, name = key.rpartition(":")
                if cls.__name__ != name or (module and not f"{cls.__module__}.".startswith(f"{module}.")):
                    continue
                if self.host is None or self.host.owns(sys.modules.get(cls.__module__)):
                    return row
        return None


ADAPTERS: Plugins[Adapter] = Plugins("adapter", ("matches", "sites"), "an Adapter object")


def register_adapter(adapter: Adapter) -> Adapter:
    """Register an adapter in this process, under its name. Returns it."""
    ADAPTERS.register(getattr(adapter, "name", None), adapter, called_from())
    return adapter


def find(generator: nn.Module, name: str | None) -> Adapter | None:
    """The adapter called name, or the first that matches generator; None where none does."""
    if name is not None:
        return ADAPTERS.get(name)
    for each, adapter in ADAPTERS.usable():
        try:
            if adapter.matches(generator):
                return adapter
        except Exception as error:
            if ADAPTERS.is_local(each) or isinstance(error, SparsePluginError):
                raise
            fails = f"fails on a {type(generator).__name__}: {type(error).__name__}: {error}"
            ADAPTERS.leave_out(each, f"{ADAPTERS.described(each)} {fails}")
    return None

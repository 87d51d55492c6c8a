"""What is registered: regularizers, adapters and hosts, each found by name.

All of them, the built-in ones included, come in through entry points of installed packages, or are registered in the
running process by a decorator or a user's file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sparse_plugin.errors import ConfigError, one_of

if TYPE_CHECKING:
    from sparse_plugin.adapters import Adapter
    from sparse_plugin.hosts import Host

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """One registered object: its name, where it came from, and how to load it."""

    name: str
    origin: str
    load: Callable[[], T]


class Plugins(Generic[T]):
    """The plugins of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._local: dict[str, Plugin[T]] = {}
        self._installed: dict[str, Plugin[T]] | None = None

    def register(self, name: str, value: T, origin: str) -> None:
        """Register value under name in this process.

        Raises ConfigError where another owner already has the name.
        """
        if not name.isidentifier() or name != name.lower():
            raise ConfigError(f"{name!r} is no name for a {self.kind}: use lower-case letters, digits and underscores")
        owner = self.all().get(name)
        if owner is not None and owner.origin != origin:
            raise ConfigError(
                f"there are two {self.kind}s {name!r}, one from {owner.origin} and one from {origin}; rename one"
            )
        self._local[name] = Plugin(name, origin, lambda: value)

    def unregister(self, name: str) -> None:
        """Forget what was registered under name in this process."""
        self._local.pop(name, None)

    def all(self) -> dict[str, Plugin[T]]:
        """Every plugin by name, sorted; none of them is loaded."""
        if self._installed is None:
            self._installed = self._discover()
        return dict(sorted({**self._installed, **self._local}.items()))

    def get(self, name: str) -> T:
        """The object registered under name.

        Raises ConfigError for an unknown name, or one whose package does not import.
        """
        plugin = self.all().get(name)
        if plugin is None:
            raise ConfigError(one_of(self.kind, name, self.all()))
        try:
            return plugin.load()
        except ImportError as error:
            raise ConfigError(f"{self.kind} {name!r} from {plugin.origin} does not import: {error}") from error

    def _discover(self) -> dict[str, Plugin[T]]:
        found: dict[str, Plugin[T]] = {}
        for entry in entry_points(group=f"sparse_plugin.{self.kind}s"):
            plugin: Plugin[T] = Plugin(entry.name, _origin(entry), entry.load)
            other = found.get(entry.name)
            if other is not None and other.origin != plugin.origin:
                raise ConfigError(
                    f"there are two {self.kind}s {entry.name!r}, one from {other.origin} and one from "
                    f"{plugin.origin}; uninstall one"
                )
            found[entry.name] = plugin
        return found


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def caller_origin(value: Any) -> str:
    """Where value was defined: its file, else its module's name."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return getattr(sys.modules.get(module), "__file__", None) or module


REGULARIZERS: Plugins[Any] = Plugins("regularizer")
ADAPTERS: Plugins[Adapter] = Plugins("adapter")
HOSTS: Plugins[Host] = Plugins("host")


def register_adapter(adapter: Adapter) -> Adapter:
    """Register an adapter in this process, under its name. Returns it."""
    ADAPTERS.register(adapter.name, adapter, caller_origin(adapter))
    return adapter


def register_host(host: Host) -> Host:
    """Register a host patch in this process, under its name. Returns it."""
    HOSTS.register(host.name, host, caller_origin(host))
    return host

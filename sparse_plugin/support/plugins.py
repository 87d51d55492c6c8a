"""A table of what is registered, each found by name: one for every kind of thing that people add.

All of them, the built-in ones included, come in through entry points of installed packages, or are registered in the
running process by a decorator or a user's file.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from sparse_plugin.errors import ConfigError, one_of, shown

log = logging.getLogger("sparse_plugin")
T = TypeVar("T")


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """One registered object: its name, where it came from, how to load it, and its entry point, "package.module:object"."""

    name: str
    origin: str
    load: Callable[[], T]
    entry: str = ""


class Plugins(Generic[T]):
    """The plugins of one kind, by name: those of the entry points `sparse_plugin.KINDs`, and those registered in this process.

    offers: the attributes that each must have. what: what each is, for people. classes: whether they are classes. accept:
    raises ConfigError for one that cannot be used, by whatever door it comes. reserved: names that mean something else.
    """

    def __init__(
        self,
        kind: str,
        offers: tuple[str, ...],
        what: str,
        *,
        classes: bool = False,
        accept: Callable[[T], None] = lambda value: None,
        reserved: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.what = what
        self.classes = classes
        self.offers = offers
        self._accept = accept
        self._reserved = reserved
        self._local: dict[str, Plugin[T]] = {}
        self._installed: dict[str, Plugin[T]] | None = None
        self._twice: list[str] = []
        self._warned: set[str] = set()

    def register(self, name: Any, value: T, origin: str) -> None:
        """Register value under name in this process.

        Raises ConfigError where value cannot be used, or another owner already has the name. A package's own entry point of
        this name is no other owner: whether it leads to the same is seen when it is loaded.
        """
        self._accept(value)
        if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
            raise ConfigError(
                f"{shown(name)} is no name for a {self.kind}: use lower-case letters, digits and underscores"
            )
        self._check_reserved(name)
        for owner in (self._local.get(name), self._discovered().get(name)):
            if owner is not None and owner.origin != origin and not _shares_source(owner, value, origin):
                raise ConfigError(self._two(name, owner.origin, origin, "rename one"))
        self._local[name] = Plugin(name, origin, lambda: value)

    def unregister(self, name: str) -> None:
        """Forget what was registered under name in this process."""
        self._local.pop(name, None)

    def all(self) -> dict[str, Plugin[T]]:
        """Every plugin by name, sorted; none of them is loaded."""
        return dict(sorted({**self._local, **self._discovered()}.items()))

    def get(self, name: str) -> T:
        """The object registered under name.

        Raises ConfigError for an unknown name, one that two packages have, or one whose package does not load.
        """
        installed = self._discovered().get(name)
        if installed is None and name not in self._local:
            raise ConfigError(one_of(self.kind, name, self.all()))
        value = None if installed is None else self._load(installed)
        local = self._local.get(name)  # which loading may have registered just now
        if local is None:
            return value  # type: ignore[return-value]
        mine = local.load()
        if installed is not None and value is not mine and not _same(value, mine, local.origin, installed):
            raise ConfigError(self._two(name, installed.origin, local.origin, "rename one"))
        return mine

    def usable(self) -> Iterator[tuple[str, T]]:
        """Those that load, with their names. For one of a package that does not, a warning says so once, and which it is."""
        for name in self.all():
            try:
                value = self.get(name)
            except ConfigError as error:
                self.leave_out(name, str(error))
            else:
                yield name, value

    def leave_out(self, name: str, why: str) -> None:
        """Warn, once, that the plugin called name is not used, and why."""
        if name not in self._warned:
            self._warned.add(name)
            log.warning("%s; it is left out", why)

    def described(self, name: str) -> str:
        """A plugin for people: its kind and name, its package, and its entry point."""
        plugin = self.all()[name]
        return f"{self.kind} {name!r} from {plugin.origin}" + (f" (entry point {plugin.entry})" if plugin.entry else "")

    def is_local(self, name: str) -> bool:
        """Whether it was registered in this process, and by no installed package."""
        return name not in self._discovered()

    def check(self) -> None:
        """Raises ConfigError where two packages have one name."""
        self._discovered()
        if self._twice:
            raise ConfigError(self._twice[0])

    def _load(self, plugin: Plugin[T]) -> T:
        try:
            value = plugin.load()
        except ConfigError as error:
            raise ConfigError(f"{self.described(plugin.name)}: {error}") from error
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a package may do anything when it is imported, leaving the program included
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ConfigError(f"{self.described(plugin.name)} does not import: {said}") from error
        if isinstance(value, type) is not self.classes or not all(hasattr(value, name) for name in self.offers):
            raise ConfigError(f"{self.described(plugin.name)} is {value!r}, and it must be {self.what}")
        try:
            self._accept(value)
            self._check_reserved(plugin.name)
        except ConfigError as error:
            raise ConfigError(f"{self.described(plugin.name)}: {error}") from None
        return value

    def _check_reserved(self, name: str) -> None:
        if name in self._reserved:
            raise ConfigError(f"{name!r} is no name for a {self.kind}: it means that there is none; choose another")

    def _two(self, name: str, one: str, other: str, advice: str) -> str:
        return f"there are two {self.kind}s {name!r}, one from {one} and one from {other}; {advice}"

    def _discovered(self) -> dict[str, Plugin[T]]:
        if self._installed is None:
            self._installed = self._discover()
        return self._installed

    def _discover(self) -> dict[str, Plugin[T]]:
        found: dict[str, Plugin[T]] = {}
        for entry in _entries(f"sparse_plugin.{self.kind}s"):
            plugin: Plugin[T] = Plugin(entry.name, _origin(entry), entry.load, entry.value)
            other = found.get(entry.name)
            if other is not None and other.origin != plugin.origin:
                said = self._two(entry.name, other.origin, plugin.origin, "uninstall one")
                self._twice.append(said)
                plugin = Plugin(entry.name, f"{other.origin} and {plugin.origin}", _refusing(said))
            found[entry.name] = plugin
        return found


def installed(kind: str) -> list[str]:
    """The names of the plugins of one kind that packages bring, sorted; none is loaded, nor the module of their type."""
    return sorted({entry.name for entry in _entries(f"sparse_plugin.{kind}s")})


def _refusing(said: str) -> Callable[[], Any]:
    def load() -> Any:
        raise ConfigError(said)

    return load


def _entries(group: str) -> Iterator[EntryPoint]:
    """The entry points of group; a package whose metadata cannot be read has none."""
    try:
        yield from tuple(entry_points(group=group))
        return
    except Exception:
        log.debug("the entry points of all packages cannot be read at once", exc_info=True)
    seen: set[str] = set()
    for package in distributions():
        try:
            name = package.metadata["Name"]
            if name not in seen:
                yield from package.entry_points.select(group=group)
                seen.add(name)
        except Exception as error:
            log.warning(
                "the entry points of the package at %s cannot be read: %s", getattr(package, "_path", "?"), error
            )


def _origin(entry: EntryPoint) -> str:
    try:
        return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
    except Exception:  # a package without a name or a version
        return entry.value


def _shares_source(owner: Plugin[Any], value: Any, origin: str) -> bool:
    """Whether what is registered from the file or module origin stands in the package that owner's entry point names."""
    if not owner.entry:
        return False
    top = owner.entry.partition(":")[0].partition(".")[0]
    if (value.__module__ if isinstance(value, type) else origin).partition(".")[0] == top:
        return True
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    return any(place and Path(origin).is_relative_to(place) for place in places)


def _same(theirs: Any, mine: Any, origin: str, entry: Plugin[Any]) -> bool:
    """Whether two objects are one, of a file that was imported under two names."""
    if isinstance(mine, type):
        return caller_origin(theirs) == origin and theirs.__qualname__ == mine.__qualname__
    return getattr(sys.modules.get(entry.entry.partition(":")[0]), "__file__", None) == origin


def caller_origin(cls: type) -> str:
    """Where a class was defined: its file, else its module's name."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__


def called_from() -> str:
    """The file, else the module, whose code called the function that asks."""
    names = sys._getframe(2).f_globals
    return str(names.get("__file__") or names.get("__name__"))

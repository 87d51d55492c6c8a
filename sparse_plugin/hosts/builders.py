"""Watching the classes and functions that build generators."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, SiteError, shown
from sparse_plugin.hosts.host import Host
from sparse_plugin.hosts.instances import (
    Building,
    after_construction,
    handed_on,
    looks_like_a_generator,
    named,
    named_generator,
)
from sparse_plugin.hosts.loaders import Loaders
from sparse_plugin.hosts.patching import Patches
from sparse_plugin.support import advice

if TYPE_CHECKING:
    from torch import nn


class Builders:
    """The classes and functions that build generators: built(generator, host) is called as soon as one is built.

    host is None where none is known.
    """

    def __init__(self, patches: Patches, built: Callable[[nn.Module, Host | None], None], key: str = "generator") -> None:
        self._patches = patches
        self._built = built
        self._loaders = Loaders(patches)
        self._key = key  # of the config, by which a class is named
        self._watched: weakref.WeakKeyDictionary[type, Host | None] = weakref.WeakKeyDictionary()

    def attach_instances_of(self, spec: str, host: Host | None) -> None:
        """Attach to every instance of the class that spec, "module:Class", names, once the class exists.

        The module may be the one that defines the class or one that hands it on. Where the user named it (host is None),
        it may be a function that returns a generator.
        """
        module, _, name = spec.partition(":")

        def defined(cls: type) -> None:
            if named(spec, cls):
                self._watch(cls, host)
            elif cls.__name__ == name:  # as lazy modules hand it on: not before it is used
                self._after_construction(cls, lambda built: self._built(built, host) if handed_on(spec, cls) else None)

        def imported(found: Any) -> None:
            value = vars(found).get(name)
            torch = sys.modules.get("torch.nn.modules.module")
            if isinstance(value, type) and torch is not None and issubclass(value, torch.Module):
                self._watch(value, host)
            elif isinstance(value, FunctionType) and host is None:
                self._patches.wrap(found, name, self.after_factory(None))

        self._patches.when_network_defined(defined)
        self._patches.when_imported(module, imported)

    def attach_generators(self) -> None:
        """Attach to every instance of a class that is named like a generator and is no part of another."""
        building = Building()

        def defined(cls: type) -> None:
            if looks_like_a_generator(cls) and not any(base in self._watched for base in cls.__mro__):
                self._after_construction(cls, self._built_unasked, building)

        self._patches.when_network_defined(defined)

    def after_factory(self, host: Host | None) -> Callable[..., Any]:
        """A wrapt wrapper around a function that returns a generator. Raises ConfigError where it returns anything else."""

        def built(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            from torch import nn

            generator = wrapped(*args, **kwargs)
            if not isinstance(generator, nn.Module):
                raise ConfigError(
                    f"{wrapped.__module__}:{wrapped.__qualname__} returns {shown(generator)}, and no {self._key}; name the "
                    f"{self._key}'s class with {advice.setting(self._key, 'module:Class')}"
                )
            self._built(generator, host)
            return generator

        return built

    def _watch(self, cls: type, host: Host | None) -> None:
        if host is not None and not host.owns(sys.modules.get(cls.__module__)):
            return
        other = self._watched.get(cls, host)
        if other is not None and host is not None and other is not host:
            raise ConfigError(
                f"the host patches {other.name!r} and {host.name!r} both claim {cls.__module__}:{cls.__name__}; choose one "
                f"with {advice.setting('host', other.name)} or {advice.setting('host', host.name)}"
            )
        if cls in self._watched:
            return
        self._watched[cls] = host
        self._after_construction(cls, lambda built: self._built(built, host))

    def _after_construction(self, cls: type, then: Callable[[Any], None], building: Building | None = None) -> None:
        """Call then(instance) when one is built, or when the loader returns that builds it."""
        self._loaders.follow(cls)
        self._patches.undo.append(after_construction(cls, self._loaders.after(then), building))

    def _built_unasked(self, generator: nn.Module) -> None:
        """An instance of a class that is named like a generator was built, whose host is not known."""
        from sparse_plugin.network.sites import kernel_owners

        cls = type(generator)
        if not any(True for _ in kernel_owners(generator)) and not named_generator(cls):
            return
        try:
            self._built(generator, None)
        except SiteError as error:
            raise SiteError(
                f"{error}. {cls.__module__}:{cls.__name__} was taken for the generator by its name; name another class with "
                f"{advice.setting('generator', 'module:Class')}"
            ) from None

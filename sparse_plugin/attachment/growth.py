"""Modules that are put into a watched generator, seen where torch registers them."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from sparse_plugin.network.sites import CHILD


class Watcher(Protocol):
    """What is told."""

    def grew(self, child: nn.Module) -> None:
        """child was put into the generator."""


# The modules of watched generators, each with what watches; told apart from all other modules that are being built.
_watched: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Watcher]] = weakref.WeakKeyDictionary()
_handle: Any = None


def watch(generator: nn.Module, watcher: Watcher) -> None:
    """Tell watcher of modules that are added to generator from now on."""
    global _handle
    for module in generator.modules():
        _watched[module] = weakref.ref(watcher)
    if _handle is None:
        _handle = register_module_module_registration_hook(_registered)


def _registered(parent: nn.Module, name: str, child: nn.Module | None) -> None:
    """A module was put into another, which may be a part of a watched generator."""
    ref = _watched.get(parent)
    watcher = None if ref is None else ref()
    if watcher is None or child is None or name == CHILD:
        return
    for module in child.modules():
        _watched[module] = weakref.ref(watcher)
    watcher.grew(child)

"""Patching this process: wrapping what is there, and acting on what is imported or defined later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wrapt import FunctionWrapper, resolve_path

from sparse_plugin.hosts.importing import when_imported
from sparse_plugin.hosts.undo import Undo
from sparse_plugin.support.subclasses import when_any_defined


class Patches:
    """Changes to this process, each of which undo takes back."""

    def __init__(self, undo: Undo) -> None:
        self.undo = undo

    def wrap(self, parent: Any, attribute: str, wrapper: Callable[..., Any]) -> None:
        """Put a wrapt wrapper around parent's attribute, unless it stands there already."""
        parent, attribute, original = resolve_path(parent, attribute)
        if isinstance(original, FunctionWrapper) and original._self_wrapper is wrapper:
            return
        own, wrapped = attribute in vars(parent), FunctionWrapper(original, wrapper)
        setattr(parent, attribute, wrapped)

        def undo() -> None:
            if vars(parent).get(attribute) is not wrapped:
                return  # somebody else put another there
            if own:
                setattr(parent, attribute, original)
            else:
                delattr(parent, attribute)

        self.undo.append(undo)

    def when_imported(self, module: str, then: Callable[[Any], None]) -> None:
        """Call then(module) now, or when a module is imported, until it is taken back."""
        self.undo.append(when_imported(module, then))

    def when_network_defined(self, then: Callable[[type], None]) -> None:
        """Call then(cls) for every class of torch.nn.Module, now or when it is defined; torch is not imported for it."""

        def imported(torch: Any) -> None:
            self.undo.append(when_any_defined(torch.Module, then))

        self.when_imported("torch.nn.modules.module", imported)

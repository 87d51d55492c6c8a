"""Acting right after a module was imported, as often as it is, until told to stop; nothing stays behind then."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import wrapt

_Proxy: Any = wrapt.ObjectProxy
_waiting: dict[str, list[Callable[[Any], None]]] = {}
_lock = threading.RLock()


def when_imported(name: str, then: Callable[[Any], None]) -> Callable[[], None]:
    """Call then(module): now where the module called name is imported already, and after every later import or reload.

    Returns a function that stops it.
    """
    with _lock:
        _waiting.setdefault(name, []).append(then)
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)

    def stop() -> None:
        with _lock:
            waiting = _waiting.get(name, [])
            if then in waiting:
                waiting.remove(then)
            if not waiting:
                _waiting.pop(name, None)
            if not _waiting and _FINDER in sys.meta_path:
                sys.meta_path.remove(_FINDER)

    module = sys.modules.get(name)
    if module is not None:
        try:
            then(module)
        except BaseException:
            stop()
            raise
    return stop


class _Finder:
    """A finder that finds what the others do, and has the loaders of modules that are waited for tell of it."""

    def __init__(self) -> None:
        self._here = threading.local()  # the names that a thread is asking the other finders for

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec that the other finders have, where the module is waited for."""
        asked: set[str] = vars(self._here).setdefault("asked", set())
        if name not in _waiting or name in asked:
            return None
        asked.add(name)
        try:
            spec = _found(name, path, target)
        finally:
            asked.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            telling: Any = _Telling(spec.loader)
            spec.loader = telling
        return spec


def _found(name: str, path: Any, target: Any) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(name, path, target)
        if spec is not None:
            return spec
    return None


class _Telling(_Proxy):  # type: ignore[misc]
    """A module's loader that gives the module its own loader back, loads it, and tells of it."""

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.__wrapped__.create_module(spec)

    def exec_module(self, module: Any) -> None:
        loader = self.__wrapped__
        if getattr(module, "__loader__", self) is self:
            module.__loader__ = loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader
        loader.exec_module(module)
        name = module.__name__
        for then in list(_waiting.get(name, ())):
            then(sys.modules.get(name, module))  # some put another object in their place


_FINDER = _Finder()

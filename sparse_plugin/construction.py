"""Seeing modules of a class when they are built, whatever code builds them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any


def named(spec: str, cls: type) -> bool:
    """Whether "module:Class" names cls. `__main__` also stands for the main script in a spawned process."""
    module, _, name = spec.partition(":")
    return cls.__name__ == name and (
        cls.__module__ == module or (module == "__main__" and cls.__module__ == "__mp_main__")
    )


def when_defined(base: type, spec: str, then: Callable[[type], None]) -> Callable[[], None]:
    """Call then(cls) for the class that spec names: now, where it exists below base, else when it is defined.

    Returns a function that stops waiting.
    """
    for cls in _below(base):
        if named(spec, cls):
            then(cls)
    return _on_subclass(base, lambda cls: then(cls) if named(spec, cls) else None)


def after_construction(cls: Any, then: Callable[[Any], None]) -> Callable[[], None]:
    """Call then(instance) when an instance of cls, or of a class derived from it, is completely built.

    Copies and unpickled instances are not built. Returns a function that gives the classes back their `__init__`.
    """
    building: set[int] = set()
    originals: list[tuple[Any, Any]] = []

    def wrap(kind: Any) -> None:
        if "__init__" not in vars(kind):
            return
        original = kind.__init__

        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            if id(self) in building:
                original(self, *args, **kwargs)
                return
            building.add(id(self))
            try:
                original(self, *args, **kwargs)
            finally:
                building.discard(id(self))
            then(self)

        originals.append((kind, original))
        kind.__init__ = __init__

    if "__init__" not in vars(cls):
        cls.__init__ = _inherited(cls)
        originals.append((cls, None))
    for kind in (cls, *_below(cls)):
        wrap(kind)
    stop = _on_subclass(cls, wrap)

    def undo() -> None:
        stop()
        for kind, original in reversed(originals):
            if original is None:
                del kind.__init__
            else:
                kind.__init__ = original

    return undo


def _inherited(cls: Any) -> Any:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super(cls, self).__init__(*args, **kwargs)

    return __init__


def _below(cls: type) -> Iterator[type]:
    children: list[type] = cls.__subclasses__()
    for child in children:
        yield child
        yield from _below(child)


def _on_subclass(base: Any, then: Callable[[type], None]) -> Callable[[], None]:
    own = vars(base).get("__init_subclass__")

    def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:
        if own is not None:
            own.__get__(None, cls)(**kwargs)
        else:
            super(base, cls).__init_subclass__(**kwargs)
        then(cls)

    hook: Any = classmethod(__init_subclass__)
    base.__init_subclass__ = hook

    def undo() -> None:
        if vars(base).get("__init_subclass__") is not hook:
            return  # somebody wrapped it after us; ours passes everything on
        if own is not None:
            base.__init_subclass__ = own
        else:
            del base.__init_subclass__

    return undo

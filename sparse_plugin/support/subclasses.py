"""Seeing the classes below a class, those that are defined later too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def when_any_defined(base: type, then: Callable[[type], None]) -> Callable[[], None]:
    """Call then(cls) for every class below base: now for those that exist, else when they are defined.

    Returns a function that stops waiting.
    """
    for cls in below(base):
        then(cls)
    return on_subclass(base, then)


def below(cls: type) -> Iterator[type]:
    """Every class that is derived from cls."""
    children: list[type] = cls.__subclasses__()
    for child in children:
        yield child
        yield from below(child)


def on_subclass(base: Any, then: Callable[[type], None]) -> Callable[[], None]:
    """Call then(cls) for every class below base that is defined from now on. Returns a function that stops it."""
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

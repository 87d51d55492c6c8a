"""Losses that a library divides before their gradient is computed, by the number of batches that it accumulates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wrapt import FunctionWrapper

_shares: list[float] = []  # of the running backward passes


def running() -> bool:
    """Whether a backward pass is running that a library is known to have begun."""
    return bool(_shares)


def share() -> float | None:
    """What a loss was multiplied by before the running backward pass, where that is known and no 1; else None. A trainer may divide by
    itself what it hands on, as that of transformers does.
    """
    return _shares[-1] if _shares and _shares[-1] != 1 else None


@contextmanager
def divided(count: int) -> Iterator[None]:
    """The backward pass in here is that of a loss divided by count."""
    _shares.append(1 / max(1, count))
    try:
        yield
    finally:
        _shares.pop()


def wrap(kind: Any, name: str, wrapper: Callable[..., Any], undo: list[Callable[[], None]]) -> None:
    """Wrap a method of kind, a class or None, unless it is, until what is added to undo takes that back."""
    original = vars(kind).get(name) if kind is not None else None
    if original is not None and not (isinstance(original, FunctionWrapper) and original._self_wrapper is wrapper):
        setattr(kind, name, FunctionWrapper(original, wrapper))
        undo.append(lambda: setattr(kind, name, original))

"""Finding the living objects of a class, whoever made them and before whatever."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from sparse_plugin.support.subclasses import below

# A search is repeated after so many times as long as it took, or when an object may have come.
_PATIENCE = 200


class Living:
    """The living objects of some classes and of those below them.

    Nothing is patched: an object refers to its class, so the garbage collector knows it, and the class's count of references
    tells, for almost nothing, whether looking again is worth while.
    """

    def __init__(self, classes: Callable[[], Iterable[type]]) -> None:
        """classes: gives those that exist by now."""
        self._classes = classes
        self._counts: dict[int, int] = {}
        self._known: list[weakref.ref[Any]] = []
        self._again = 0.0

    def __call__(self) -> list[Any]:
        """The objects; those that are known already where no other can have come since they were last looked for."""
        kinds = [kind for cls in self._classes() for kind in (cls, *below(cls))]
        counts = {id(kind): sys.getrefcount(kind) for kind in kinds}
        start = time.monotonic()
        if kinds and (counts != self._counts or start >= self._again):
            found = [each for each in gc.get_referrers(*kinds) if any(type(each) is kind for kind in kinds)]
            self._known = [weakref.ref(each) for each in found]
            self._counts, now = counts, time.monotonic()
            self._again = now + _PATIENCE * (now - start)
        return [each for known in self._known if (each := known()) is not None]

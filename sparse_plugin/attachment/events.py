"""What happens to attached generators, by name, for whoever in this process wants to know.

    unsubscribe = events.placed.subscribe(lambda generator: ...)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from torch import nn

from sparse_plugin.network.sites import Site

T = TypeVar("T")


class AtSite(Protocol):
    """What stands at a site."""

    site: Site


class Event(Generic[T]):
    """One kind of thing that happens. Its listeners are told in the order in which they subscribed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._listeners: list[Callable[[T], object]] = []

    def subscribe(self, tell: Callable[[T], object]) -> Callable[[], None]:
        """Call tell with whatever it happens to from now on. Returns what ends that, however often it is called.

        A listener that has subscribed already is told once.
        """
        if tell not in self._listeners:
            self._listeners.append(tell)

        def unsubscribe() -> None:
            if tell in self._listeners:
                self._listeners.remove(tell)

        return unsubscribe

    def __contains__(self, tell: object) -> bool:
        return tell in self._listeners

    def announce(self, subject: T) -> None:
        """It has happened to subject. What a listener raises is raised here, and later ones are not told."""
        for tell in tuple(self._listeners):
            tell(subject)

    def __repr__(self) -> str:
        return f"Event({self.name!r}, listeners={len(self._listeners)})"


# A generator's hooks have just been placed: at attach, at the first call, or where D1 changed.
placed: Event[nn.Module] = Event("placed")
# A generator that was pickled with its hooks, and came so from another process or a file, runs for the first time.
arrived: Event[nn.Module] = Event("arrived")
# Once a hook, when it takes effect: Γ is projected, or its penalty reaches a loss.
effective: Event[AtSite] = Event("effective")
# Once a hook, when its generator runs with gradients or is trained, so that a penalty is due.
penalizable: Event[AtSite] = Event("penalizable")

# Once a hook, when the natural density of its Γ has been measured and its k follows from it.
chosen: Event[AtSite] = Event("chosen")

# Once a hook, at the first step of an optimizer that trains its generator.
trained: Event[AtSite] = Event("trained")
# An optimizer that trains no attached generator takes its first step: it is told to whoever asks what was trained.
trained_others: Event[object] = Event("trained_others")

ALL = (placed, arrived, effective, penalizable, chosen, trained, trained_others)

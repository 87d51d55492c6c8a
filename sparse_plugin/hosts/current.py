"""The session that is on in this process, if one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sparse_plugin.config import SparsityConfig
from sparse_plugin.hosts.journal import Journal
from sparse_plugin.hosts.undo import Undo


class Running(Protocol):
    """What others ask of a session."""

    launched: bool
    journal: Journal
    undo: Undo

    @property
    def active(self) -> bool:
        """Whether it is on."""

    @property
    def config(self) -> SparsityConfig:
        """What is asked for, by now."""

    def stop(self) -> None:
        """Take every patch back."""

    def from_checkpoint(self, generator: Any, settings: Mapping[str, Any]) -> Any:
        """Attach what a checkpoint, which is being loaded into generator, was trained with."""


_latest: Running | None = None


def session() -> Running | None:
    """The session of this process, if the plugin is switched on."""
    return _latest if _latest is not None and _latest.active else None


def put(session: Running | None) -> Running | None:
    """Make this the session of this process. Returns the one before."""
    global _latest
    before, _latest = _latest, session
    return before

"""Handing measurements to a sink, without ever stopping for it, and saying once what becomes of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Literal

from sparse_plugin.support.files import reason
from sparse_plugin.support.sinks.sink import SINKS

log = logging.getLogger("sparse_plugin")

# What becomes of measurements, the sink's name, and where they went or why not.
Tell = Callable[[Literal["logged", "unlogged"], str, str], None]

# When a sink, by its name, was last without anything to write to in this process.
_MISSED: dict[str, float] = {}


class Outlet:
    """One sink of a generator's measurements.

    name: the sink's. file: as a `Sink` takes it.
    """

    def __init__(self, name: str, file: Callable[[], Path | None]) -> None:
        self.name = name
        self._sink = SINKS.get(name)(file)
        self._where = ""
        self._failed = self._missed = False
        self._made = time.monotonic()

    @property
    def waits(self) -> bool:
        """Whether it writes to something that the host opens."""
        return bool(self._sink.waits_for)

    def write(
        self,
        step: int,
        records: Sequence[Mapping[str, Any]],
        scalars: Mapping[str, Mapping[str, float]],
        tell: Tell,
        *,
        leads: bool,
    ) -> None:
        """Hand over what was measured at a step. leads: whether this process is the one to say that nothing is live."""
        try:
            where = self._sink.write(step, records, scalars)
        except Exception as error:
            self._lost(f"{self.name} cannot be written: {type(error).__name__}: {reason(error)}", tell)
            return
        if where is None:
            self._missing(tell, leads)
        elif where != self._where:
            self._where = where
            if self.waits:
                tell("logged", self.name, where)

    def _lost(self, text: str, tell: Tell) -> None:
        if not self._failed:
            self._failed = True
            tell("unlogged", self.name, text)
            log.warning("%s; the run goes on, and what it logs there is lost", text)

    def _missing(self, tell: Tell, leads: bool) -> None:
        # Another generator that is trained beside this one may have said it already.
        said = self._missed or _MISSED.get(self.name, -inf) > self._made
        _MISSED[self.name] = time.monotonic()
        if self._missed:
            return
        self._missed = True
        why = f"no {self._sink.waits_for} was live in this process when measurements were due"
        tell("unlogged", self.name, why)
        if leads and not said:
            log.warning(
                "log asks for %s, and no %s is live in this process; none is started: measurements go there as soon as the "
                "script has one",
                self.name,
                self._sink.waits_for,
            )

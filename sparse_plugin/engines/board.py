"""What is said while an engine works: a table on a terminal that follows, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from sparse_plugin.engines.status import WORKING, RunStatus, status, summary, table
from sparse_plugin.experiments.engine import Attempt, GridRun
from sparse_plugin.support.progress import say

# Seconds between two looks at the directories: for a terminal, and for lines; and of these the longest share of the time.
SHOWN, SAID, SHARE = 2.0, 60.0, 0.05


class Board:
    """The runs that an engine places; a context manager. about: where they are placed."""

    def __init__(self, runs: Sequence[GridRun], about: str) -> None:
        from rich.console import Console

        self.runs, self.about = runs, about
        self._console = Console(stderr=True)
        self._live: Any = None
        self._next = time.monotonic() + SHOWN

    def __enter__(self) -> Board:
        say(f"{len(self.runs)} runs{f', {self.about}' if self.about else ''}")
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, made: Attempt) -> None:
        """A run ended."""
        self._line(f"{made.run}: {f'failed: {made.failed}' if made.failed else 'done'}")

    def show(self) -> None:
        """Look again, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        found = [status(run) for run in self.runs]
        if self._live is not None:
            self._live.update(table(found, max(5, self._console.height - 4)), refresh=True)
        else:
            self._lines(found)
        took = time.monotonic() - now
        self._next = now + took + max(SHOWN if self._live is not None else SAID, took / SHARE)

    def _lines(self, found: Sequence[RunStatus]) -> None:
        self._line(summary(found))
        for each in found:
            if each.kind == WORKING:
                self._line(f"  {each}")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

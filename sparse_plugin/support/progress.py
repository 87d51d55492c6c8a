"""Progress on stderr: bars and spinners on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

# Seconds between two lines where there is no terminal, and before the bar of what is mostly quick.
QUIET, SHORT = 30.0, 2.0


_moved = 0


def move() -> None:
    """Something has come further in this process: a step, a batch, a line of output."""
    global _moved
    _moved += 1


def moved() -> int:
    """How often something did: a number that stays the same is of what hangs."""
    return _moved


def duration(seconds: float) -> str:
    """In the largest unit that says something: "90 s", "5 min", "2.5 h"."""
    if seconds < 120:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A spinner beside what, while something takes its time; without a terminal, a line for every half minute of it."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(f"{what} ..."):
            yield
        return
    done, start = threading.Event(), time.monotonic()

    def wait() -> None:
        while not done.wait(QUIET):
            say(f"{what}: {duration(time.monotonic() - start)} so far")

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def say(text: str) -> None:
    """A line on stderr."""
    from rich.console import Console

    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def bars(unit: str = "") -> Progress:
    """Bars with a count of units, the time gone and the time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([TextColumn(f"{unit},")] if unit else []),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


class Counting:
    """A bar that counts total items; without a terminal, a line for every half minute. A context manager.

    after: seconds before the bar appears.
    """

    def __init__(self, what: str, total: int, after: float = 0.0) -> None:
        self.what, self.total, self.after, self.done = what, total, after, 0
        self._start = self._said = time.monotonic()
        self._bars = bars()
        self._terminal = not self._bars.disable
        self._task = self._bars.add_task(what, total=total)

    def __enter__(self) -> Counting:
        if not self.after:
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def advance(self, count: int) -> None:
        """So many more are done."""
        move()
        self.done = min(self.done + count, self.total)
        now = time.monotonic()
        gone = now - self._start
        if self._terminal:
            if gone > self.after and not self._bars.live.is_started:
                self._bars.start()
            self._bars.update(self._task, completed=self.done)
        elif now - self._said > QUIET:
            self._said = now
            left = gone / self.done * (self.total - self.done)
            say(f"{self.what}: {self.done} of {self.total}, {duration(gone)} gone, {duration(left)} left")


def track(batches: Sequence[T], what: str, total: int, size: int) -> Iterator[T]:
    """The batches, of size items each but the last, while a bar counts total items, with their pace and the time left."""
    with Counting(what, total) as counting:
        for batch in batches:
            yield batch
            counting.advance(size)

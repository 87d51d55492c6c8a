"""Progress on a terminal's stderr, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def duration(seconds: float) -> str:
    """In the largest unit that says something: "90 s", "5 min", "2.5 h"."""
    if seconds < 120:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def busy(what: str) -> AbstractContextManager[Any]:
    """A spinner beside what, while something takes its time."""
    from rich.console import Console

    return Console(stderr=True).status(f"{what} ...")


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


def track(batches: Sequence[T], what: str, total: int, size: int) -> Iterator[T]:
    """The batches, of size items each but the last, while a bar counts total items, with their pace and the time left."""
    with bars() as progress:
        task = progress.add_task(what, total=total)
        for batch in batches:
            yield batch
            progress.advance(task, min(size, total - progress.tasks[task].completed))

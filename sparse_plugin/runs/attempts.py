"""A run's log of who trained it: RUN/attempts.jsonl, a line when a process takes its first step, one when it gives the run back,
and one when the run fails.

from   the step from which a process goes on, with its host, number and lease
to     the last step that it took, unless it was killed
failed why the run failed, in a sentence
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparse_plugin.errors import CheckpointError
from sparse_plugin.support.files import append, lines

FILE = "attempts.jsonl"


def note(run: Path, **record: Any) -> None:
    """Add a line; one that cannot be written is no reason to lose a run."""
    with suppress(OSError, ValueError):
        append(run / FILE, {**record, "time": round(time.time(), 3)})


def note_failed(run: Path, why: str) -> None:
    """Say in a run's directory, which is made where it is missing, that it failed."""
    with suppress(OSError, ValueError):
        run.mkdir(parents=True, exist_ok=True)
    note(run, failed=why)


def read(run: Path) -> list[dict[str, Any]]:
    """The lines, the oldest first; [] where nothing was noted."""
    try:
        return list(lines(run / FILE)) if (run / FILE).is_file() else []
    except CheckpointError:
        return []


def failure(run: Path) -> str:
    """Why the latest attempt failed; "" where it did not, or has not yet."""
    return str(next((line.get("failed", "") for line in reversed(read(run))), ""))

"""A trainer that is to stop at a share of its steps, so that the same command goes on later: what `tune` asks of a host patch.

A patch whose `Host.stops` is true asks `share()` where its trainer begins, stops there with a checkpoint by the trainer's own means,
and says so by `stopped`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from sparse_plugin.support.files import write

SHARE, STOPPED = "SPARSE_PLUGIN_UNTIL", "SPARSE_PLUGIN_STOPPED"


def environment(share: float, file: Path) -> Mapping[str, str]:
    """The variables by which a launched trainer is asked; file: where it says that it stopped."""
    return {SHARE: repr(share), STOPPED: os.path.abspath(file)}


def share() -> float | None:
    """The share of a whole run's steps at which this process's trainer is to stop; None where nobody asks."""
    text = os.environ.get(SHARE)
    return float(text) if text else None


def stopped(step: int, steps: int) -> None:
    """Say that the trainer stopped, with a checkpoint, after this step of so many."""
    file = os.environ.get(STOPPED)
    if file:
        write(file, json.dumps({"step": step, "steps": steps}))

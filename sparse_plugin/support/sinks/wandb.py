"""Measurements as scalars of a Weights & Biases run that the host has begun."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparse_plugin.support.living import Living
from sparse_plugin.support.sinks.sink import LiveSink


class WandB(LiveSink):
    """`wandb.run`; where that is None, a run that was begun beside it (`reinit="create_new"`).

    The scalars join the row that the host commits next (`commit=False`), so that the run's own step stays what the host makes
    it: a row of our own would advance it, and W&B drops rows of a host that counts itself and has fallen behind. Of several
    measurements between two rows of the host the last one stays. Their axis is a metric of ours, `sparse_plugin/step`.
    """

    packages = ("wandb",)
    waits_for = "W&B run"

    def __init__(self, file: Callable[[], Path | None]) -> None:
        super().__init__(file)
        self._find = Living(_classes)
        self._found: weakref.ref[Any] | None = None
        self._defined: weakref.ref[Any] | None = None

    def live(self) -> Any | None:
        """The run."""
        run = getattr(sys.modules.get("wandb"), "run", None)
        if run is None:
            run = None if self._found is None else self._found()
        if run is None or not _open(run):
            run = next(filter(_open, self._find()), None)
            self._found = None if run is None else weakref.ref(run)
        return run

    def put(self, target: Any, step: int, root: str, scalars: Mapping[str, float]) -> str:
        """Add the scalars, and the generator's step, to the row that the host commits next."""
        if self._defined is None or self._defined() is not target:
            target.define_metric(f"{root}/*", step_metric=f"{root}/step")
            self._defined = weakref.ref(target)
        target.log({**{f"{root}/{name}": value for name, value in scalars.items()}, f"{root}/step": step}, commit=False)
        return f"W&B, run {getattr(target, 'name', None) or getattr(target, 'id', '')}".rstrip()


def _classes() -> Iterator[type]:
    cls = getattr(sys.modules.get("wandb.sdk.wandb_run"), "Run", None)
    if isinstance(cls, type):
        yield cls


def _open(run: Any) -> bool:
    """Whether a run is not finished, and was begun in this process: of a forked one it is the parent's."""
    return not getattr(run, "_is_finished", False) and getattr(run, "_init_pid", os.getpid()) == os.getpid()

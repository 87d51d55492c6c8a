"""Recording measurements over the steps of a training run, one JSON line each."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from sparse_plugin.measurements.gamma import GammaStatistics, Measurement
from sparse_plugin.support.files import Log, lines

FILE = "sparsity.jsonl"

read = lines


class Recorder:
    """Keeps the latest statistics of a generator's representations and writes them every `every` generator steps.

    Nothing waits for the device but the step that writes. The file is opened for appending: a resumed run goes on in it.
    A line that cannot be written is lost, with a warning once: no training ends for it.
    """

    def __init__(self, run_dir: str | os.PathLike[str], every: int) -> None:
        self.run_dir, self.every = Path(run_dir), every
        self.latest: list[Measurement] = []
        self._pending: dict[tuple[str, int], GammaStatistics] = {}
        self._used: dict[tuple[str, int], torch.Tensor] = {}
        self._log = Log()

    @property
    def path(self) -> Path:
        """The log file: of a process group's other ranks, sparsity.rank1.jsonl and so on."""
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        named = os.environ.get("RANK", "0")
        rank = torch.distributed.get_rank() if joined else int(named) if named.isdecimal() else 0
        return self.run_dir / (FILE if rank == 0 else FILE.replace(".jsonl", f".rank{rank}.jsonl"))

    def due(self, steps: int) -> bool:
        """Whether the generator's next step, after so many, is one to record: the first, and every `every`th."""
        return self.every > 0 and (steps == 0 or (steps + 1) % self.every == 0)

    @property
    def pending(self) -> bool:
        """Whether a forward pass was remembered that is not written yet."""
        return bool(self._pending)

    def take(self, statistics: GammaStatistics) -> None:
        """Remember a forward pass; a later one of the same step replaces it."""
        self._pending[statistics.site, statistics.level] = statistics

    def stepped(self, step: int) -> None:
        """The generator's optimizer took this step: write what its forward passes showed."""
        if not self._pending:
            return
        self.latest = [statistics.read() for statistics in self._pending.values()]
        self._pending.clear()
        for measured in self.latest:
            key = (measured.site, measured.level)
            used = measured.atom_usage > 0
            self._used[key] = self._used[key] | used if key in self._used else used
            self.write({"step": step, **measured.record(), "unused_so_far": int((~self._used[key]).sum())})

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        self._log.append(self.path, {"time": round(time.time(), 3), **record})

"""Recording measurements over the steps of a training run, one JSON line each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sparse_plugin.measure import Measurement, Reduction

FILE = "sparsity.jsonl"


class Recorder:
    """Keeps the latest reductions of a generator's representations and writes them every `every` generator steps.

    Nothing waits for the device but the step that writes. The file is opened for appending: a resumed run goes on in it.
    """

    def __init__(self, run_dir: str | os.PathLike[str], every: int) -> None:
        self.run_dir, self.every = Path(run_dir), every
        self.latest: list[Measurement] = []
        self._pending: dict[tuple[str, int], Reduction] = {}
        self._used: dict[tuple[str, int], torch.Tensor] = {}

    @property
    def path(self) -> Path:
        """The log file: of a process group's other ranks, sparsity.rank1.jsonl and so on."""
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if joined else int(os.environ.get("RANK", "0") or 0)
        return self.run_dir / (FILE if rank == 0 else FILE.replace(".jsonl", f".rank{rank}.jsonl"))

    def due(self, steps: int) -> bool:
        """Whether the generator's next step, after so many, is one to record: the first, and every `every`th."""
        return self.every > 0 and (steps == 0 or (steps + 1) % self.every == 0)

    def take(self, reduction: Reduction) -> None:
        """Remember a forward pass; a later one of the same step replaces it."""
        self._pending[reduction.site, reduction.level] = reduction

    def stepped(self, step: int) -> None:
        """The generator's optimizer took this step: write what its forward passes showed."""
        if not self._pending:
            return
        self.latest = [reduction.read() for reduction in self._pending.values()]
        self._pending.clear()
        for measured in self.latest:
            key = (measured.site, measured.level)
            used = measured.atom_usage > 0
            self._used[key] = self._used[key] | used if key in self._used else used
            self.write({"step": step, **measured.record(), "unused_so_far": int((~self._used[key]).sum())})

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a killed run left its last line unfinished
                    file.write(b"\n")
            file.write(json.dumps({"time": round(time.time(), 3), **record}).encode() + b"\n")


def read(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The records of a log file, without lines that a killed run left unfinished."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue

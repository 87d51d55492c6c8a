"""Recording measurements over the steps of a training run: one JSON line each, and scalars beside the host's own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sparse_plugin.errors import ConfigError
from sparse_plugin.measurements.gamma import GammaStatistics, Measurement
from sparse_plugin.measurements.outlet import Outlet, Tell
from sparse_plugin.support.files import lines
from sparse_plugin.support.sinks.sink import JSONL

FILE = "sparsity.jsonl"

read = lines

# What of a record says where and when it was measured, and is no measurement.
_WHERE = ("time", "step", "site", "level")


class Recorder:
    """Keeps the latest statistics of a generator's representations and writes them every `every` generator steps.

    Nothing waits for the device but the step that writes. log: the sinks that it writes to. run_dir: the folder of the
    JSON lines, appended to: a resumed run goes on in them. What cannot be written is lost, with a warning once: no training
    ends for it.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None, every: int, log: Sequence[str] = (JSONL,)) -> None:
        """Raises ConfigError for JSON lines without a run_dir."""
        if run_dir is None and JSONL in log:
            raise ConfigError("there is no run_dir for the JSON lines; give one, or a log without jsonl")
        self.run_dir, self.every = None if run_dir is None else Path(run_dir), every
        self.latest: list[Measurement] = []
        self.outlets = [Outlet(name, partial(_file, self.run_dir)) for name in log]
        # Called with what becomes of measurements that sinks write to something of the host's.
        self.tell: Tell = lambda *told: None
        self._pending: dict[tuple[str, int, str], GammaStatistics] = {}
        self._used: dict[tuple[str, int, str], torch.Tensor] = {}

    @property
    def path(self) -> Path | None:
        """The file of JSON lines: of a process group's other ranks, sparsity.rank1.jsonl and so on; None where none is written."""
        return _file(self.run_dir)

    def due(self, steps: int) -> bool:
        """Whether the generator's next step, after so many, is one to record: the first, and every `every`th."""
        return self.every > 0 and (steps == 0 or (steps + 1) % self.every == 0)

    @property
    def pending(self) -> bool:
        """Whether a forward pass was remembered that is not written yet."""
        return bool(self._pending)

    def take(self, statistics: GammaStatistics) -> None:
        """Remember a forward pass; a later one of the same step replaces it."""
        self._pending[statistics.site, statistics.level, statistics.regularizer] = statistics

    def stepped(self, step: int) -> None:
        """The generator's optimizer took this step: write what its forward passes showed."""
        if not self._pending:
            return
        self.latest = [statistics.read() for statistics in self._pending.values()]
        self._pending.clear()
        records = []
        for measured in self.latest:
            key = (measured.site, measured.level, measured.regularizer)
            used = measured.atom_usage > 0
            self._used[key] = self._used[key] | used if key in self._used else used
            records.append({"step": step, **measured.record(), "unused_so_far": int((~self._used[key]).sum())})
        self.write(*records)

    def write(self, *records: dict[str, Any]) -> None:
        """Write the records of one step to every sink."""
        step, numbers, leads = records[0]["step"], scalars(records), _rank() == 0
        for outlet in self.outlets:
            outlet.write(step, records, numbers, self.tell, leads=leads)


def scalars(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The numbers in the records of one step, by site and name. Levels of one site are told apart, SITE/level2, and so are several
    regularizers at it, SITE/l0_inf.
    """
    levels = Counter(record.get("site", "") for record in records)
    several = Counter(site for site, _ in {(record.get("site", ""), record.get("regularizer", "")) for record in records})
    found: dict[str, dict[str, float]] = {}
    for record in records:
        site = record.get("site", "")
        parts = [site, record["regularizer"] if several[site] > 1 else ""]
        if levels[site] > 1 and record.get("level", 1) != 1:
            parts.append(f"level{record['level']}")
        site = "/".join(filter(None, parts))
        found[site] = {
            name: value
            for name, value in record.items()
            if name not in _WHERE and isinstance(value, (int, float)) and not isinstance(value, bool)
        }
    return found


def _rank() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    named = os.environ.get("RANK", "0")
    return int(named) if named.isdecimal() else 0


def _file(run_dir: Path | None) -> Path | None:
    rank = _rank()
    return None if run_dir is None else run_dir / (FILE if rank == 0 else FILE.replace(".jsonl", f".rank{rank}.jsonl"))

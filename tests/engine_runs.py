"""Runs that take no networks: they count, keep what they have at every fifth step, and fail as they are told, once."""

import errno
import hashlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from sparse_plugin.errors import ConfigError, DivergedError, OutputError
from sparse_plugin.experiments.engine import Grid, GridRun
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.support.files import append, write

STEPS, KEPT = 20, 5


@dataclass(frozen=True)
class CountingRun(GridRun):
    """fault: what happens at step 7, for the first time only (`always` in it: every time). seconds: of a step."""

    out: Path
    number: int
    fault: str = ""
    seconds: float = 0.01

    @property
    def directory(self):
        return self.out / f"run{self.number}"

    def __str__(self):
        return f"number {self.number}"

    def state(self):
        if self.collect() is not None:
            return "finished"
        step = self._kept()["step"]
        return f"at step {step}" if step else "not begun"

    def collect(self):
        path = self.directory / "result.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def _kept(self):
        path = self.directory / "kept.json"
        return json.loads(path.read_text()) if path.is_file() else {"step": 0, "value": str(self.number)}

    def perform(self, title, say):
        directory = RunDirectory(self.directory)
        with directory.locked():
            kept = self._kept()
            step, value = kept["step"], kept["value"]
            for now in range(step + 1, STEPS + 1):
                time.sleep(self.seconds)
                value = hashlib.sha256(f"{value} {now}".encode()).hexdigest()
                directory.at(now, STEPS)
                append(self.directory / "steps.jsonl", {"step": now, "process": os.getpid()})
                if now == 7:
                    self._fail()
                if now % KEPT == 0:
                    directory.still_ours()
                    write(self.directory / "kept.json", json.dumps({"step": now, "value": value}))
            directory.still_ours()
            write(self.directory / "result.json", json.dumps({"value": value, "threads": os.environ.get("OMP_NUM_THREADS")}))
        return self.collect()

    def _fail(self):
        mark = self.directory / "faulted"
        if not self.fault or (mark.exists() and "always" not in self.fault):
            return
        mark.touch()
        what = self.fault.split()[0]
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hangs":
            time.sleep(600)
        if what == "diverges":
            raise DivergedError("the loss is no number")
        if what == "full":
            raise OutputError(f"{self.directory} could not be written: No space left on device; make room, or name another place")
        if what == "broken":
            raise OSError(errno.EIO, "Input/output error")
        if what == "bug":
            raise ZeroDivisionError("division by zero")
        if what == "refused":
            raise ConfigError("nothing of this kind")


class CountingGrid(Grid):
    def __init__(self, out, faults, seconds=0.01):
        self.out = Path(out)
        self.runs = tuple(CountingRun(self.out, number, fault, seconds) for number, fault in enumerate(faults))

    def prepare(self):
        return self.runs

    def render(self, outcomes, failed):
        write(self.out / "table.md", "\n".join(made["value"] for made in outcomes))
        return "; ".join([f"{len(outcomes)} values", *failed]), [self.out / "table.md"]


def steps_of(run):
    """The steps that were taken, in their order."""
    return [json.loads(line)["step"] for line in (run.directory / "steps.jsonl").read_text().splitlines()]

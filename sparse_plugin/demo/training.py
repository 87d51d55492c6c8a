"""The demo's training runs: two processes side by side, their progress, and what is said when one fails."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.errors import SparsePluginError
from sparse_plugin.measurements.log import FILE
from sparse_plugin.support.files import lines
from sparse_plugin.support.progress import bars

# Seconds between two looks at the logs, and between two lines where there is no terminal.
LOOK, LINE = 0.2, 10.0


class TrainingError(SparsePluginError, RuntimeError):
    """A training run of the demo that failed."""

    exit_code = 1


@dataclass(frozen=True)
class Training:
    """One run of a script that does not know of the plugin, under `sparse-plugin run`."""

    name: str
    k: int | float
    script: tuple[str, ...]  # the script and its flags, but for where it logs

    @property
    def log_dir(self) -> str:
        """The run directory of the script, below the demo's folder."""
        return f"runs/{self.name}"

    @property
    def words(self) -> list[str]:
        """The command, as typed in the demo's folder."""
        return [
            *("sparse-plugin", "run", "--sparse", "l0_inf", "--set", f"sparse.k={self.k}", "--"),
            *("python", *self.script, "--log-dir", self.log_dir),
        ]

    @property
    def command(self) -> str:
        """The command with what it needs of the environment."""
        return f"OMP_NUM_THREADS=1 {shlex.join(self.words)}"

    def records(self, folder: Path) -> list[dict[str, Any]]:
        """What was measured so far."""
        path = folder / self.log_dir / FILE
        return list(lines(path)) if path.exists() else []


def train(trainings: Sequence[Training], steps: int, folder: Path) -> None:
    """Run all of them at once in folder, each on one thread, and show their steps.

    Raises TrainingError, with the end of its log, for the first that fails; the others are stopped.
    """
    with ExitStack() as stack:
        children = [(training, stack.enter_context(_started(training, folder))) for training in trainings]
        report = stack.enter_context(_bars(steps) if sys.stderr.isatty() else _lines(steps))
        running = True
        while running:
            time.sleep(LOOK)
            codes = [child.poll() for _, child in children]
            report(
                {
                    training.name: steps if code == 0 else _step(training, folder)
                    for (training, _), code in zip(children, codes, strict=True)
                }
            )
            for (training, _), code in zip(children, codes, strict=True):
                if code:
                    raise TrainingError(_failure(training, code, folder))
            running = None in codes


def _log(training: Training, folder: Path) -> Path:
    return folder / f"{training.log_dir}.log"


@contextmanager
def _started(training: Training, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    # A plugin that is switched on around the demo is not the demo's.
    env = {key: value for key, value in os.environ.items() if not key.startswith("SPARSE_PLUGIN_")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "sparse_plugin", *training.words[1:]]
    log = _log(training, folder)
    log.parent.mkdir(exist_ok=True)
    with open(log, "xb") as output:
        child = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()


def _step(training: Training, folder: Path) -> int:
    records = training.records(folder)
    return int(records[-1]["step"]) if records else 0


def _failure(training: Training, code: int, folder: Path) -> str:
    path = _log(training, folder)
    with open(path, encoding="utf-8", errors="replace") as log:
        last = "".join(f"  | {line.rstrip()}\n" for line in deque(log, maxlen=15))
    how = f"exited with code {code}" if code > 0 else f"was ended by signal {-code}"
    return f"the training run {training.name} {how}; its log {path} ends with\n{last}the command, in {folder}:\n  {training.command}"


@contextmanager
def _bars(steps: int) -> Iterator[Any]:
    with bars("steps") as progress:
        tasks: dict[str, Any] = {}

        def report(done: dict[str, int]) -> None:
            for name, step in done.items():
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=steps)
                if progress.tasks[tasks[name]].completed != step:
                    progress.update(tasks[name], completed=step)

        yield report


@contextmanager
def _lines(steps: int) -> Iterator[Any]:
    began = said = time.monotonic()
    first: tuple[float, int] | None = None

    def report(done: dict[str, int]) -> None:
        nonlocal said, first
        now, slowest = time.monotonic(), min(done.values())
        if first is None and slowest:
            first = (now, slowest)
        if now - said < LINE:
            return
        said = now
        left = ""
        if first is not None and slowest > first[1]:
            left = f", about {(now - first[0]) / (slowest - first[1]) * (steps - slowest):.0f} s left"
        where = ", ".join(f"{name} {step}/{steps}" for name, step in done.items())
        print(f"training: {where} steps, {now - began:.0f} s gone{left}", file=sys.stderr, flush=True)

    yield report

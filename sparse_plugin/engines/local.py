"""The local engine: processes on this machine, each of which performs one run after the other; a GPU each, where there are several."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparse_plugin.engines.placing import HANGING, PlacingEngine, Work
from sparse_plugin.engines.work import Ended, Order, Place
from sparse_plugin.support.files import make_folder

# Seconds in which a process that is told to end may save what it has, and leave its directory in order.
SAVING = 60.0


class Process:
    """One process, and the run that it is at work on. output: what it, and what it starts, print."""

    def __init__(self, environment: dict[str, str], output: Path) -> None:
        more: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}
        with open(output, "ab") as file:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "sparse_plugin.engines.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **environment},
                **more,
            )
        self.output, self.busy = output, False
        self.replies: queue.Queue[Ended | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        with suppress(Exception):  # cut short where it died
            while True:
                self.replies.put(pickle.load(self.child.stdout))
        self.replies.put(None)

    def give(self, order: Order) -> None:
        """A run to perform."""
        assert self.child.stdin is not None
        self.busy = True
        with suppress(OSError):  # it is dead already, which is told by the reader
            content = pickle.dumps(order)
            self.child.stdin.write(len(content).to_bytes(8, "big") + content)
            self.child.stdin.flush()

    def tell(self) -> None:
        """Let it know that it is to end: by the end of its input."""
        with suppress(OSError):
            assert self.child.stdin is not None
            self.child.stdin.close()

    def end(self, gently: bool) -> None:
        """End it, and everything that it started: at once, or after it has left its directory in order."""
        self.tell()
        if gently:
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(SAVING if self.busy else 5)
        with suppress(OSError):
            if sys.platform == "win32":
                self.child.kill()
            else:
                os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


class LocalWork(Work):
    """A run in a process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ended(self) -> Ended | str | None:
        """Its reply, or what its process died of."""
        try:
            reply = self.process.replies.get_nowait()
        except queue.Empty:
            return None
        if reply is not None:
            self.process.busy = False
            return reply
        code = self.process.child.wait()
        how = f"died of signal {-code}" if code < 0 else f"ended with {code}"
        return f"its process {how}; what it printed is in {self.process.output}"

    def tell(self) -> None:
        """Its input ends."""
        self.process.tell()

    def stop(self, gently: bool) -> None:
        """End the process; another one takes its place for the next run."""
        self.process.end(gently)


class LocalEngine(PlacingEngine):
    """So many processes at once. devices: for each what CUDA_VISIBLE_DEVICES is to be, None to leave it. out: of the grid, where
    what processes print goes.
    """

    def __init__(
        self, place: Place, out: Path, jobs: int = 1, devices: Sequence[str | None] = (None,), hanging: float = HANGING
    ) -> None:
        super().__init__(place, hanging)
        self.out, self.jobs, self.devices = out, jobs, tuple(devices)
        self._processes: list[Process | None] = [None] * jobs

    @property
    def about(self) -> str:
        """How many at once."""
        given = [device for device in self.devices if device is not None]
        on = f" on GPU {', '.join(dict.fromkeys(given))}" if given else ""
        return f"{self.jobs} at once{on}"

    def free(self, at_work: int) -> int:
        """Of the processes, those without a run."""
        return self.jobs - at_work

    def begin(self, order: Order) -> Work:
        """Give a run to a process that has none, which is started where it is missing."""
        for slot, process in enumerate(self._processes):
            if process is None or process.child.poll() is not None:
                process = self._processes[slot] = self._started(slot)
            if not process.busy:
                process.give(order)
                return LocalWork(process)
        raise AssertionError("more runs than processes")

    def _started(self, slot: int) -> Process:
        device = self.devices[slot % len(self.devices)]
        threads = str(self.place.threads)
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        return Process(environment, make_folder(self.out / ".engine") / f"{os.getpid()}-{slot}.log")

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process is not None:
                process.end(gently=True)
        self._processes = [None] * self.jobs

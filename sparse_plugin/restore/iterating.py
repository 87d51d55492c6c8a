"""The loop of a restoration: iterations, checkpoints, and what ends it early."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sparse_plugin.restore.held_out import refits
from sparse_plugin.restore.report import RestorationReport
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import RestorationResult
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.rundir import RunDirectory


class Interrupted(KeyboardInterrupt):
    """A restoration that was interrupted. result: the best so far, None before the first iteration."""

    def __init__(self, result: RestorationResult | None) -> None:
        super().__init__()
        self.result = result


@dataclass(frozen=True)
class Loop:
    """How restorations of one run directory go on. budget: iterations of each; checkpoint_every, log_every: in iterations;
    asked: whether it is to end after the iteration at work.
    """

    budget: int
    directory: RunDirectory | None
    report: RestorationReport
    checkpoint_every: int
    log_every: int
    asked: Callable[[], bool]

    def advance(self, restoration: Restoration, until: int, folder: Path | None) -> bool:
        """Iterate up to an iteration, unless its rule, or who asked, ends it before. folder: of its checkpoints. Returns whether
        it got as far as it is to.
        """
        while restoration.iteration < until and not restoration.stopping.over and not self.asked():
            now = restoration.iteration + 1
            logged = now in (1, self.budget) or now % self.log_every == 0
            restoration.step(logged)
            if self.directory is not None:
                self.directory.at(now, until)
                if logged:
                    self.directory.still_ours()
            self.report.tick(logged or restoration.stopping.over)
            if now % self.checkpoint_every == 0 and now != self.budget and not restoration.stopping.over:
                self.save(restoration, folder, finished=False)
        return restoration.iteration >= until or restoration.stopping.over

    def refit(self, restoration: Restoration) -> None:
        """The iterations with all pixels that follow on held-out ones. Raises Interrupted, with what was chosen, where they are
        ended before: the same call does them anew, from the latest checkpoint before them.
        """

        def go_on() -> bool:
            if self.directory is not None:
                self.directory.at(restoration.iteration, self.budget)
            self.report.again()
            return not self.asked()

        try:
            done = restoration.refit(refits(self.budget), go_on)
        except KeyboardInterrupt:
            done = False
        if not done:
            raise Interrupted(restoration.result())

    def save(self, restoration: Restoration, folder: Path | None, finished: bool) -> None:
        """Write a checkpoint, where there is a directory; one that is there already, of an iteration, is as it was."""
        if self.directory is not None and folder is not None:
            if not finished and checkpoints.place(folder, restoration.iteration).exists():
                return
            self.directory.still_ours()
            restoration.save(folder, finished)


def iterate(restoration: Restoration, loop: Loop) -> None:
    """One restoration, up to its end. Raises Interrupted."""
    folder = None if loop.directory is None else loop.directory.checkpoints
    try:
        finished = loop.advance(restoration, loop.budget, folder)
    except KeyboardInterrupt:  # in the middle of an iteration, from which nothing can go on
        raise Interrupted(restoration.result() if restoration.curves.loss else None) from None
    if finished:
        loop.refit(restoration)
    if restoration.iteration:
        loop.save(restoration, folder, finished)
    if not finished:
        raise Interrupted(restoration.result() if restoration.iteration else None)


@contextmanager
def interruptible(say: bool) -> Iterator[Callable[[], bool]]:
    """Let the first SIGINT or SIGTERM only be noted, so that the iteration at work is finished; a second one interrupts.

    Elsewhere than in the main thread, where signals cannot be handled, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)
        if say:  # not through a stream, in whose writing the signal may have come
            os.write(2, b"\ninterrupted: stopping after this iteration; again to stop at once\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

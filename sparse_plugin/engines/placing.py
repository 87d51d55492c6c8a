"""Placing runs: which is begun when, what becomes of one whose process died or hangs, and who is told.

A run is placed where nobody else has its lease. One whose process died, or that takes no step for too long, is stopped and
placed again; it goes on from its latest checkpoint. What another command is at work on is left to it, and taken up if that dies.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from sparse_plugin.engines.board import Board
from sparse_plugin.engines.status import leases
from sparse_plugin.engines.work import Ended, Order, Place
from sparse_plugin.errors import SparsePluginError
from sparse_plugin.experiments.engine import Attempt, GridRun
from sparse_plugin.runs import attempts
from sparse_plugin.runs.lease import MISSED, HeldLease, interval
from sparse_plugin.support.progress import duration

# How often a run is tried whose process died, or that hangs.
TRIES = 3
# Seconds without a step after which a run counts as hanging; and how long a directory may take to show what a process wrote.
HANGING, SHOWING = 1800.0, 30.0
# Seconds in which a process may start, load what it needs and take the lease, however few without a step are allowed.
STARTING = 300.0
# Seconds between two looks.
LOOK = 0.2


class Refused(SparsePluginError, RuntimeError):
    """What a run was refused for, in another process."""


class Work(ABC):
    """A run that was placed."""

    @abstractmethod
    def ended(self) -> Ended | str | None:
        """How it ended; a text, what its process died of; None as long as it is at work."""

    @abstractmethod
    def tell(self) -> None:
        """Have it begin to leave its directory in order, without waiting for it."""

    @abstractmethod
    def stop(self, gently: bool) -> None:
        """End it. gently: let it leave its directory in order first; it is waited for."""


@dataclass
class Placed:
    """A run of the grid. tries: how often it was placed. moved: what was last said of its progress, and when that was new."""

    run: GridRun
    title: str
    work: Work | None = None
    tries: int = 0
    moved: tuple[object, float] = ((), 0.0)
    why: str = ""
    held: list[bool] = field(default_factory=list)


class PlacingEngine(ABC):
    """An engine that places runs elsewhere than in this process. A context manager, within which processes live on.

    hanging: seconds without a step. place: what all runs share.
    """

    def __init__(self, place: Place, hanging: float = HANGING) -> None:
        self.place, self.hanging, self.used = place, hanging, False

    def __enter__(self) -> PlacingEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def free(self, at_work: int) -> int:
        """How many more runs may be placed now."""

    @abstractmethod
    def begin(self, order: Order) -> Work:
        """Place a run."""

    @abstractmethod
    def close(self) -> None:
        """End what was started."""

    def start(self, count: int) -> None:
        """Before the first of so many runs. Raises ConfigError for what cannot be done."""
        return

    @property
    def about(self) -> str:
        """Where runs are placed, for people."""
        return ""

    def __call__(self, runs: Sequence[GridRun], done: int = 0) -> Iterator[Attempt]:
        """Perform runs. done: of the grid, those that need not be."""
        self.used = True
        if not runs:
            return
        self.start(len(runs))
        count = len(runs) + done
        waiting = [Placed(run, f"{number} of {count}: {run}") for number, run in enumerate(runs, 1 + done)]
        at_work: list[Placed] = []
        quiet = time.monotonic()
        with Board(runs, self.about) as board:
            try:
                while waiting or at_work:
                    began = time.monotonic()
                    for each in self._placeable(waiting, self.free(len(at_work))):
                        self._place(each)
                        waiting.remove(each)
                        at_work.append(each)
                    for each, made in [(each, made) for each in at_work if (made := self._looked(each)) is not None]:
                        at_work.remove(each)
                        if isinstance(made, Attempt):
                            board.say(made)
                            yield made
                        else:
                            waiting.append(each)
                    if at_work or not waiting:
                        quiet = time.monotonic()
                    elif all(each.held and all(each.held) for each in waiting) and time.monotonic() - quiet > 3 * interval():
                        yield from (Attempt(each.run, busy=True) for each in waiting)
                        return
                    board.show()
                    time.sleep(min(5.0, max(LOOK, 4 * (time.monotonic() - began))))  # a disk of many readers is asked less often
            finally:
                works = [each.work for each in at_work if each.work is not None]
                for work in works:  # all at once: a time limit leaves them half a minute together
                    work.tell()
                for work in works:
                    work.stop(gently=True)

    def _placeable(self, waiting: Sequence[Placed], free: int) -> list[Placed]:
        """So many runs that nobody has, in their order."""
        found: list[Placed] = []
        for each in waiting:
            if len(found) >= free:
                break
            held = leases(each.run)
            each.held = [_lives(lease) for lease in held]
            if not held:
                found.append(each)
        return found

    def _place(self, each: Placed) -> None:
        each.tries += 1
        each.moved = ((), time.monotonic())
        each.work = self.begin(Order.of(each.run, each.title, self.place))

    def _looked(self, each: Placed) -> Attempt | bool | None:
        """The attempt that a run came to; True where it is to be placed again; None as long as it is at work."""
        assert each.work is not None
        ended = each.work.ended()
        if ended is None:
            ended = self._hanging(each)
            if ended is None:
                return None
        each.work = None
        if isinstance(ended, Ended) and ended.refused is not None:
            error = Refused(ended.refused[0])
            error.exit_code = ended.refused[1]
            raise error
        if isinstance(ended, str) or ended.again:
            each.why = ended if isinstance(ended, str) else ended.failed
            if each.tries < TRIES:
                return True
            return self._failed(each, f"{each.run} was tried {TRIES} times, and the last time: {each.why}")
        if ended.busy:
            each.tries -= 1
            return True
        if ended.failed:
            return self._failed(each, ended.failed)
        outcome = _shown(each.run)
        if outcome is None:
            return self._failed(each, f"{each.run} ended, and nothing of it is to be seen in {each.run.directory}")
        return Attempt(each.run, outcome)

    def _failed(self, each: Placed, why: str) -> Attempt:
        if attempts.failure(each.run.directory) != why:
            attempts.note_failed(each.run.directory, why)
        return Attempt(each.run, failed=why)

    def _hanging(self, each: Placed) -> str | None:
        """Stop a run that takes no step. Returns the sentence that says so."""
        assert each.work is not None
        now = time.monotonic()
        doing = tuple(lease.doing for lease in leases(each.run))
        if each.moved[0] != doing:
            each.moved = (doing, now)
        if now - each.moved[1] <= max(self.hanging, 3 * interval(), 0.0 if each.moved[0] else STARTING):
            return None
        each.work.stop(gently=False)
        return f"it took no step for {duration(now - each.moved[1])}, and was stopped"


def _lives(lease: HeldLease) -> bool:
    """Whether its owner is known to live: what was seen lately counts, what fell silent may be over soon."""
    here = lease.owner is not None and lease.owner.alive is True
    return lease.certain and (here or lease.silent < 2 * lease.stale / MISSED)


def _shown(run: GridRun) -> object:
    """What a run came to, as soon as its disk shows here what was written elsewhere; None where it does not."""
    read = partial(run.collect)
    end = time.monotonic() + SHOWING
    while (found := read()) is None and time.monotonic() < end:
        time.sleep(0.2)
    return found

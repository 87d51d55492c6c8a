"""The engine of every grid: runs that are described, performed wherever one likes, and collected from their directories.

A run is a frozen description with its directory; `attempt` is a function of it that trains and measures, or goes on, and
leaves everything in that directory. So an engine does nothing but place runs: `local` performs them here, one after the
other, and the room `engines` has others. What a grid came to is collected from the directories alone, also while runs are at work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sparse_plugin.errors import DivergedError, SparsePluginError
from sparse_plugin.experiments import records
from sparse_plugin.experiments.records import Record
from sparse_plugin.experiments.restored import Restored
from sparse_plugin.runs import attempts
from sparse_plugin.runs.rundir import BusyError

Say = Callable[[str], None]


class FailedRun(SparsePluginError, RuntimeError):
    """A run that failed by itself. The others go on, and it is told at the end."""

    exit_code = 1


class GridRun(ABC):
    """The description of one run. Derive a frozen dataclass of it, of what can be pickled. As text it is its name for people."""

    @property
    @abstractmethod
    def directory(self) -> Path:
        """Where it leaves everything, on a disk that whoever performs or collects it sees."""

    @property
    def places(self) -> tuple[Path, ...]:
        """The directories whose leases are held while it is at work, the outermost first."""
        return (self.directory,)

    @abstractmethod
    def collect(self) -> Any:
        """What it came to, from its directory alone; None where that is not there, or was measured in another way."""

    @abstractmethod
    def perform(self, title: str, say: Say) -> Any:
        """Begin it or go on with it, up to what it comes to, which is returned. Nothing that is finished is done again.

        title, say: what progress is called, and where lines of it go. Raises DivergedError, FailedRun, and BusyError where another
        process is at work in its directory.
        """

    @abstractmethod
    def state(self) -> str:
        """How far it is, for people, from its directory alone."""

    def plan(self) -> str:
        """What would be done, for people."""
        return f"{self}: {self.state()}"

    def record(self, outcome: Any) -> Record | Restored | None:
        """The line of what it came to, None where runs of this kind have none."""
        del outcome
        return None


@dataclass(frozen=True)
class Attempt:
    """What became of a run: its outcome, why it failed, or that another process is at work on it."""

    run: GridRun
    outcome: Any = None
    failed: str = ""
    busy: bool = False


Engine = Callable[[Sequence[GridRun], int], Iterator[Attempt]]

# What a command chose, for the grids that it goes through.
_CHOSEN: ContextVar[Engine | None] = ContextVar("engine", default=None)


@contextmanager
def placed_by(engine: Engine) -> Iterator[None]:
    """Have the grids that are performed in the block placed by an engine."""
    token = _CHOSEN.set(engine)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def chosen() -> Engine:
    """The engine of the block that this is in; `local` outside of any."""
    return _CHOSEN.get() or local


_TOLD: ContextVar[Callable[[Grid], str] | None] = ContextVar("plan", default=None)


@contextmanager
def planned_by(tell: Callable[[Grid], str]) -> Iterator[None]:
    """Have `plan` say, in the block, what tell does."""
    token = _TOLD.set(tell)
    try:
        yield
    finally:
        _TOLD.reset(token)


def attempt(run: GridRun, title: str, say: Say) -> Attempt:
    """Perform a run, here and now."""
    try:
        return Attempt(run, run.perform(title, say))
    except (DivergedError, FailedRun) as error:
        say(str(error))
        attempts.note_failed(run.directory, str(error))
        return Attempt(run, failed=str(error))
    except BusyError:
        say("another process is at work on it")
        return Attempt(run, busy=True)


def local(runs: Sequence[GridRun], done: int = 0) -> Iterator[Attempt]:
    """Perform runs in this process, one after the other. done: of the grid, those that need not be.

    Several processes may go through one grid, one a GPU: each takes runs in which no other is at work.
    """
    for number, run in enumerate(runs, 1 + done):
        title = f"{number} of {len(runs) + done}: {run}"
        yield attempt(run, title, partial(say_line, f"run {title}"))


class Grid(ABC):
    """The runs of one experiment, and what is made of those that are finished.

    out: where their directories are, and what is made of them. recorded: a file of finished runs, see `records`.
    """

    out: Path
    runs: tuple[GridRun, ...]
    recorded: Path | None = None

    @abstractmethod
    def prepare(self) -> Sequence[GridRun]:
        """Refuse, by ConfigError, what cannot be performed, before anything is. Returns the runs that are to be."""

    @abstractmethod
    def render(self, outcomes: Sequence[Any], failed: Iterable[str]) -> tuple[str, list[Path]]:
        """The text of what runs came to, and the files that it was written to."""

    def alike(self, outcomes: Sequence[Any]) -> list[Any]:
        """Those that may stand in one table."""
        return list(outcomes)

    def remarks(self) -> list[str]:
        """What is to be said of the runs before any is begun."""
        return []


def plan(grid: Grid) -> str:
    """What would be done; or what the block that this is in wants to know, see `planned_by`."""
    tell = _TOLD.get()
    if tell is not None:
        return tell(grid)
    done = sum(run.state() == "finished" for run in grid.runs)
    lines = [f"{grid.out}: {len(grid.runs)} runs, {done} of them finished", *grid.remarks()]
    return "\n".join([*lines, *(f"  {run.plan()}" for run in grid.runs)])


def perform(grid: Grid, engine: Engine | None = None) -> tuple[str, int]:
    """Every run of a grid, then what they came to. Returns what to say and an exit code, 1 where a run failed.

    engine: what places them, by default what the command chose.
    """
    if grid.recorded is not None:
        records.read(grid.recorded)  # a file that is none is to be refused before anything is performed
    wanted = grid.prepare()
    elsewhere = len(grid.runs) - len(wanted)
    made_of: dict[int, Attempt] = {}
    for made in (engine or chosen())(wanted, elsewhere):
        made_of[next(place for place, run in enumerate(wanted) if run is made.run or run == made.run)] = made
        _record(grid, [made])
    if not wanted:
        return f"all {elsewhere} runs are recorded in {grid.recorded}; `sparse-plugin results` shows them", 0
    return _rendered(grid, [made_of[place] for place in sorted(made_of)])  # whatever order they ended in


def collect(grid: Grid) -> tuple[str, int]:
    """What the finished runs of a grid came to, from their directories, whether others are at work or not begun; they are recorded."""
    if grid.recorded is not None:
        records.read(grid.recorded)
    found = [Attempt(run, made) for run in grid.runs if (made := run.collect()) is not None]
    alike = grid.alike([made.outcome for made in found])
    shown = [made for made in found if any(made.outcome is one for one in alike)]
    text, code = _rendered(grid, shown)
    _record(grid, shown)
    other = "" if len(alike) == len(found) else f"; {len(found) - len(alike)} more were measured in another way"
    return f"{text}\n{len(alike)} of {len(grid.runs)} runs are finished{other}" if found else "no run is finished", code


def _record(grid: Grid, ended: Iterable[Attempt]) -> None:
    """Add what runs came to to the grid's file, where it has one."""
    if grid.recorded is not None:
        lines = (made.run.record(made.outcome) for made in ended if made.outcome is not None)
        records.add(grid.recorded, [line for line in lines if line is not None])


def _rendered(grid: Grid, ended: Sequence[Attempt]) -> tuple[str, int]:
    outcomes = [made.outcome for made in ended if made.outcome is not None]
    failed = [f"{made.run}: {made.failed}" for made in ended if made.failed]
    busy = [str(made.run) for made in ended if made.busy]
    code = 1 if failed else 0
    if not outcomes:
        return f"no run is finished: {'; '.join([*failed, *busy])}", code
    text, paths = grid.render(outcomes, failed)
    lines = [text, f"written: {', '.join(map(str, paths))}"]
    lines += [f"another process is at work on {name}; repeat the command when it is done" for name in busy]
    return "\n".join(lines), code


def say_line(what: str, text: str) -> None:
    """A line of progress, on stderr."""
    from rich.console import Console

    Console(stderr=True).print(f"{what}: {text}", highlight=False, markup=False, soft_wrap=True)

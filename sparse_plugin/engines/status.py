"""How far each run of a grid is, from the directories alone: wherever they are at work, and whoever asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sparse_plugin.experiments.engine import GridRun
from sparse_plugin.runs import attempts
from sparse_plugin.runs.lease import HeldLease, look
from sparse_plugin.support.progress import duration

DONE, WORKING, WAITING, FAILED, SILENT = "done", "at work", "waiting", "failed", "silent"
ORDER = (WORKING, FAILED, SILENT, WAITING, DONE)


@dataclass(frozen=True)
class RunStatus:
    """One run. kind: done, at work, waiting, failed, or silent: somebody has its lease on another host, and no sign of life was
    seen yet. where: process and host. step, steps: taken, and of the run; pace: steps a second; left: seconds. said: how far it
    is, or why it failed.
    """

    run: str
    kind: str
    said: str = ""
    where: str = ""
    step: int | None = None
    steps: int | None = None
    pace: float | None = None
    left: float | None = None

    def __str__(self) -> str:
        if self.kind not in (WORKING, SILENT):
            return f"{self.run}: {self.said if self.kind == FAILED else self.kind}"
        parts = [f"step {self.step} of {self.steps}" if self.step is not None else self.said]
        parts += [f"{self.pace:.3g} steps/s"] if self.pace else []
        parts += [f"{duration(self.left)} left"] if self.left is not None else []
        return f"{self.run}: {', '.join(part for part in parts if part)}{f' ({self.where})' if self.where else ''}"


def leases(run: GridRun) -> list[HeldLease]:
    """Those of a run that are not over. The innermost directory's, whose steps are said, come first."""
    found: list[HeldLease] = []
    for place in reversed(run.places):
        with suppress(OSError):  # a disk that does not answer now; who performs the run says so if it stays like that
            found += [lease for lease in look(place) if not lease.over]
    return found


def status(run: GridRun) -> RunStatus:
    """How far a run is."""
    held, state = leases(run), run.state()
    if held:
        lease = next((each for each in held if dict(each.doing).get("step") is not None), held[0])
        doing = dict(lease.doing)
        step, steps, pace = doing.get("step"), doing.get("steps"), doing.get("pace")
        left = None if not pace or step is None or steps is None else (steps - step) / pace
        kind = WORKING if any(each.certain for each in held) else SILENT
        return RunStatus(str(run), kind, state, "" if lease.owner is None else str(lease.owner), step, steps, pace, left)
    if state == "finished":
        return RunStatus(str(run), DONE, state)
    why = attempts.failure(run.directory)
    return RunStatus(str(run), FAILED, why) if why else RunStatus(str(run), WAITING, state)


def summary(found: Iterable[RunStatus]) -> str:
    """In a line: how many are done, at work, waiting, and failed."""
    kinds = [each.kind for each in found]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in (DONE, WORKING, SILENT, WAITING, FAILED) if kind in kinds or kind == DONE)


def as_json(found: Sequence[RunStatus]) -> dict[str, Any]:
    """For programs: the counts by kind, and every run."""
    kinds = [each.kind for each in found]
    return {"counts": {kind: kinds.count(kind) for kind in ORDER}, "runs": [asdict(each) for each in found]}


def table(found: Sequence[RunStatus], longest: int | None = None) -> Any:
    """For a terminal: what is at work and what failed first. longest: rows, of all where None."""
    from rich.table import Table

    made = Table(title=summary(found), box=None, header_style="bold", pad_edge=False, title_justify="left")
    for name in ("run", "is", "step", "steps/s", "left", "where, or why"):
        made.add_column(name, overflow="fold")
    rows = sorted(found, key=lambda each: ORDER.index(each.kind))
    for each in rows[:longest]:
        step = "" if each.step is None else f"{each.step} of {each.steps}"
        pace = "" if each.pace is None else f"{each.pace:.3g}"
        left = "" if each.left is None else duration(each.left)
        why = each.said if each.kind == FAILED else each.where or each.said
        made.add_row(each.run, each.kind, step, pace, left, why)
    if longest is not None and len(rows) > longest:
        made.add_row(f"... and {len(rows) - longest} more", "", "", "", "", "")
    return made

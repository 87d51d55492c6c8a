"""The options that say where runs are performed, and how far they are."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from sparse_plugin.errors import ConfigError, SparsePluginError

if TYPE_CHECKING:
    from sparse_plugin.experiments.engine import Grid, GridRun

ENGINE = (
    click.option("--engine", default="local", show_default=True, metavar="NAME", help="Where runs are performed: local or ray."),
    click.option("--jobs", type=int, metavar="N", help="local: runs at once.  [default: one a GPU]"),
    click.option("--address", metavar="HOST:PORT", help="ray: of a cluster, or auto.  [default: one started here]"),
    click.option("--cpus", type=int, metavar="N", help="Threads of each run."),
    click.option("--gpus", type=float, metavar="X", help="Of one, for each run, as 0.5.  [default: 1, where there are any]"),
    click.option("--hanging", type=float, metavar="MINUTES", help="Without a step, after which a run is tried again.  [default: 30]"),
    click.option("--status", is_flag=True, help="Say how far each run is, and run nothing."),
    click.option("--json", "as_json", is_flag=True, help="With --status: for programs."),
)
_NAMES = ("engine", "jobs", "address", "cpus", "gpus", "hanging", "status", "as_json")


class Terminated(SparsePluginError, RuntimeError):
    """SIGTERM."""

    exit_code = 128 + signal.SIGTERM


def engine_options(command: Any) -> Any:
    """Adds the options; `taken` takes them together."""
    for option in reversed(ENGINE):
        command = option(command)
    return command


def taken(options: dict[str, Any]) -> dict[str, Any]:
    """The engine's options, which are taken out of options."""
    asked = {name: options.pop(name) for name in _NAMES}
    if asked["as_json"] and not asked["status"]:
        raise ConfigError("--json is of --status, which was not given; give both")
    return asked


@contextmanager
def placing(asked: dict[str, Any], out: str, what: str, idle: bool, **of_runs: Any) -> Iterator[None]:
    """Have the runs in the block placed by the engine that was asked for.

    idle: whether none is to be placed. what: whose runs they are. of_runs: device and imports, as of `engine_of`. SIGTERM, by
    which a job's time limit begins, ends the block in order. Raises ConfigError where an engine was asked for and not used.
    """
    from sparse_plugin.engines.choose import engine_of
    from sparse_plugin.experiments.engine import placed_by

    given = {name: asked[name] for name in ("jobs", "address", "cpus", "gpus", "hanging")}
    made = engine_of(asked["engine"], out, **given, **of_runs)
    with _terminable():
        if idle:
            yield
            return
        with made as engine:
            if engine is None:
                yield
                return
            with placed_by(engine):
                yield
            if not engine.used:
                raise ConfigError(f"{what} performs its runs by itself, and --engine, --jobs and their like did nothing; leave them out")


@contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise Terminated(
            "stopped by SIGTERM, as by a job's time limit; what is finished, and the latest checkpoints, are kept, and the same command "
            "goes on"
        )

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say_status(runs: Sequence[GridRun], as_json: bool) -> str:
    """How far runs are, for people or programs. Waits for a sign of life of those that another host may be at work on."""
    from rich.console import Console

    from sparse_plugin.engines.status import SILENT, status, table
    from sparse_plugin.engines.status import as_json as values
    from sparse_plugin.runs.lease import interval

    found = [status(run) for run in runs]
    end = time.monotonic() + 1.5 * interval()
    while any(each.kind == SILENT for each in found) and time.monotonic() < end:
        time.sleep(min(0.5, interval() / 5))
        found = [status(run) if each.kind == SILENT else each for run, each in zip(runs, found, strict=True)]
    if as_json:
        return json.dumps(values(found), indent=1)
    console = Console(width=None if sys.stdout.isatty() else 160)
    with console.capture() as captured:
        console.print(table(found))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


@contextmanager
def planning_status(as_json: bool) -> Iterator[None]:
    """Have what would be planned in the block say how far its runs are."""
    from sparse_plugin.experiments.engine import planned_by

    def tell(grid: Grid) -> str:
        return say_status(grid.runs, as_json)

    with planned_by(tell):
        yield

"""One fault in one run of a grid: imported by `--import` in every process that performs runs, it acts in one of them, once.

SPARSE_PLUGIN_FAULT is `WHAT WHERE MARK`: what happens, part of the path of the run that it happens to ("-" for whichever comes
first), and a file that is made when it has happened. It is read when a run is begun, so that nothing happens anywhere else.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparse_plugin.errors import DivergedError
from sparse_plugin.evaluate import outcome
from sparse_plugin.runs import checkpoints, lease
from sparse_plugin.runs.report import TrainingReport

STEP = 12


def due(what: str, where: Path) -> bool:
    """Whether this is to happen to the run at a path, now; which is so once, but for what diverges."""
    asked, of, mark = os.environ.get("SPARSE_PLUGIN_FAULT", "- - -").split()
    if asked != what or (of != "-" and of not in str(where)):
        return False
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return what == "diverges" and str(where) == Path(mark).read_text(encoding="utf-8")
    Path(mark).write_text(str(where), encoding="utf-8")
    return True


def before(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Have act called before a function, with its arguments."""
    function = getattr(owner, name)

    def both(*args: Any, **kwargs: Any) -> Any:
        act(*args, **kwargs)
        return function(*args, **kwargs)

    setattr(owner, name, both)


def ticked(report: TrainingReport, step: int) -> None:
    """In a step of training."""
    where = report.directory.path
    if step != STEP:
        return
    if due("killed", where):
        os.kill(os.getpid(), signal.SIGKILL)
    if due("suspended", where):
        os.kill(os.getpid(), signal.SIGSTOP)
    if due("hangs", where):
        time.sleep(3600)
    if due("diverges", where):
        raise DivergedError(f"a loss is no finite number in step {step}")
    due("reached", where)  # nothing happens here: who waits for the mark does something


def measured(run: Path, *args: Any, **kwargs: Any) -> None:
    """In measuring."""
    if due("killed-measuring", run):
        os.kill(os.getpid(), signal.SIGKILL)


def renamed(folder: Path) -> None:
    """In writing a checkpoint: its files are there, its name is not."""
    if folder.name == ".step-0000015":
        if due("killed-writing", folder):
            os.kill(os.getpid(), signal.SIGKILL)
        if due("full", folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def skewed() -> None:
    """This process's clock is off, by minutes that no other's is."""
    if os.environ.get("SPARSE_PLUGIN_FAULT", "").startswith("clocks"):
        off, now, touched = (os.getpid() % 7 - 3) * 600.0, time.time, lease._rewrite
        time.time = lambda: now() + off

        def rewritten(path: Path, content: bytes) -> None:
            touched(path, content)
            os.utime(path, (time.time(),) * 2)  # as disks do that take their clients' time

        lease._rewrite = rewritten


before(TrainingReport, "tick", ticked)
before(outcome, "measure", measured)
before(checkpoints, "sync_folder", renamed)
skewed()

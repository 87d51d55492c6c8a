"""What a run says while it trains: progress on the terminal, a log, TensorBoard, grids of samples."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from sparse_plugin.runs.rundir import LOG, RunDirectory
from sparse_plugin.support.files import Log, reason, writing
from sparse_plugin.support.progress import duration

log = logging.getLogger("sparse_plugin")

# Seconds between two lines where there is no terminal to draw a bar on.
QUIET = 30.0


class TrainingReport:
    """The reports of one run, from a step on; a context manager."""

    def __init__(self, directory: RunDirectory, title: str, start: int, steps: int, batch: int) -> None:
        self.directory, self.title, self.steps, self.batch = directory, title, steps, batch
        self.console = Console(stderr=True)
        self._since = (time.perf_counter(), start)
        self._said = time.perf_counter()
        self._log = Log()
        self._board: Any = None
        self._undrawn = False
        with self._drawing():
            self._board = _tensorboard(directory.path / "tensorboard", start)
        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "{task.fields[speed]}",
            TimeRemainingColumn(),
        )
        self._progress = Progress(
            *(TextColumn(c) if isinstance(c, str) else c for c in (*columns, "{task.fields[terms]}")),
            console=self.console,
            disable=not self.console.is_terminal,
            speed_estimate_period=300,
        )
        self._task = self._progress.add_task(title, total=steps, completed=start, speed="", terms="")

    def __enter__(self) -> TrainingReport:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._board is not None:
            with self._drawing():
                self._board.close()

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Pictures are no reason to stop: one that cannot be written is lost, and that is said once."""
        try:
            yield
        except OSError as error:
            self._board = None  # whose writer keeps raising
            if not self._undrawn:
                self._undrawn = True
                where = self.directory.path
                log.warning("pictures in %s cannot be written: %s; training goes on without", where, reason(error))

    def say(self, text: str) -> None:
        """A line on the terminal, or in what stderr is sent to."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def tick(self, step: int) -> None:
        """So many steps are done."""
        self._progress.update(self._task, completed=step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of a step, and the throughput since the last record."""
        now = time.perf_counter()
        since, before = self._since
        speed = (step - before) / max(now - since, 1e-9)
        self._since = (now, step)
        left = (self.steps - step) / speed
        record = {"step": step, "time": round(time.time(), 3), "images_per_second": round(speed * self.batch, 2)}
        self._log.append(self.directory.path / LOG, {**record, **values})
        if self._board is not None:
            with self._drawing():
                for name, value in {**values, "images_per_second": record["images_per_second"]}.items():
                    self._board.add_scalar(name, value, step)
        terms = " ".join(f"{_short(name)} {value:.3g}" for name, value in values.items() if "/" in name)
        shown = f"{speed:.3g} steps/s, {speed * self.batch:.3g} images/s"
        self._progress.update(self._task, completed=step, speed=shown, terms=terms)
        if self._progress.disable and (now - self._said > QUIET or step == self.steps):
            self._said = now
            self.say(f"{self.title}: step {step} of {self.steps}, {shown}, {duration(left)} left; {terms}")

    def grid(self, step: int, images: Tensor) -> Path:
        """Save uint8 images (N, 3, H, W) as one picture. Returns its path."""
        from PIL import Image

        columns = math.isqrt(len(images))
        rows = len(images) // columns
        tiles = images[: rows * columns].cpu().reshape(rows, columns, *images.shape[1:]).permute(0, 3, 1, 4, 2)
        picture = tiles.flatten(2, 3).flatten(0, 1)  # (rows H, columns W, 3)
        path = self.directory.samples / f"step-{step:07d}.png"
        with self._drawing():
            path.parent.mkdir(exist_ok=True)
            with writing(path) as file:
                Image.fromarray(picture.numpy()).save(file, "PNG")
            if self._board is not None:
                self._board.add_image("samples", picture.numpy(), step, dataformats="HWC")
        return path


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer whose later steps are forgotten, or None where tensorboard is not installed."""
    if find_spec("tensorboard") is None:
        return None
    with suppress(ImportError):
        if (
            find_spec("tensorflow") is not None
        ):  # the writer loads it, and it crashes the process before triton is loaded
            import triton  # noqa: F401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _short(name: str) -> str:
    role, _, term = name.partition("/")
    return f"{role[0].upper()}:{term}"

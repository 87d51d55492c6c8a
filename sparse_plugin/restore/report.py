"""What a restoration says while it runs: progress on the terminal, a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import Choice
from sparse_plugin.runs.report import QUIET
from sparse_plugin.runs.rundir import LOG, RunDirectory
from sparse_plugin.support.files import Log
from sparse_plugin.support.progress import bars, duration


class RestorationReport:
    """The reports of a restoration, or of several that are raced, a context manager. budget: iterations of all; progress: whether
    anything is said; others: iterations that were done of others than this one.
    """

    def __init__(
        self,
        title: str,
        restoration: Restoration,
        budget: int,
        directory: RunDirectory | None,
        progress: bool,
        others: int = 0,
    ) -> None:
        self.title, self.restoration, self.budget, self.directory = title, restoration, budget, directory
        self.loud = progress
        self._lines = Log()
        self._bars = bars("iterations")
        self._console = self._bars.console
        if not progress:
            self._bars.disable = True
        self._about: dict[str, Any] = {}  # of the restoration at work, where several are
        self._others = others
        self._since = (time.perf_counter(), others + restoration.iteration)
        self._said = time.perf_counter()
        self._task = self._bars.add_task(title, total=budget, completed=others + restoration.iteration)

    def __enter__(self) -> RestorationReport:
        self.say(f"{self.title}: {self.restoration}, from iteration {self._others + self.restoration.iteration} of {self.budget}")
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """A line on the terminal, or in what stderr is sent to."""
        if self.loud:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def turn_to(self, restoration: Restoration, others: int, k: float) -> None:
        """From now on report of this restoration, one of several. others: the iterations of all the others; k: what tells it apart."""
        self.restoration, self._others, self._about = restoration, others, {"k": k}
        self._since = (time.perf_counter(), others + restoration.iteration)

    def chosen(self, choice: Choice) -> None:
        """Say, and log, what was chosen."""
        self.say(f"{self.title}: chosen {choice}")
        self._record({"step": choice.iterations, "time": round(time.time(), 3), "chosen": choice.to_json()})

    def tick(self, logged: bool) -> None:
        """An iteration is done, to be logged or not."""
        iteration = self._others + self.restoration.iteration
        if logged:
            self._log(iteration)
        self._bars.update(self._task, completed=iteration)

    def again(self) -> None:
        """An iteration that follows on the last one, of which nothing is said."""
        self._bars.advance(self._task)

    def _log(self, iteration: int) -> None:
        now = time.perf_counter()
        since, before = self._since
        rate = (iteration - before) / max(now - since, 1e-9)
        self._since = (now, iteration)
        values = {"loss": self.restoration.curves.loss[-1], **self.restoration.merits()}
        self._record(
            {"step": iteration, "time": round(time.time(), 3), "iterations_per_second": round(rate, 3), **values}
            | ({**self._about, "iteration": self.restoration.iteration} if self._about else {})
        )
        terms = [*(f"{name} = {value:g}" for name, value in self._about.items()), f"loss {values['loss']:.4g}", f"{rate:.3g} iterations/s"]
        if "psnr_single" in values:
            terms += [f"PSNR {values['psnr_single']:.2f}, averaged {values['psnr_average']:.2f} dB"]
            terms += [f"SSIM {values['ssim_single']:.3f}, averaged {values['ssim_average']:.3f}"]
        shown = f"{self.title}: {', '.join(terms)}"
        self._bars.update(self._task, description=shown)
        if self._bars.disable and (now - self._said > QUIET or iteration == self.budget):
            self._said = now
            left = (self.budget - iteration) / rate
            self.say(f"{shown}; iteration {iteration} of {self.budget}, at most {duration(left)} left")

    def _record(self, values: dict[str, Any]) -> None:
        if self.directory is not None:
            self._lines.append(self.directory.path / LOG, values)

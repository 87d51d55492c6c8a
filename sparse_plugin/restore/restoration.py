"""One image's restoration, iteration by iteration: Deep Image Prior (Ulyanov et al. 2018) with a regularized encoder.

A network f_θ with random weights maps fixed noise z to an image, and θ is fitted to the one image that is given:
min_θ ‖A(f_θ(z + ε)) - y‖², ε new in each iteration. With a constraint, each of the encoder's representations
Γ_1..Γ_K is projected (Ganz & Elad, section 5).

All of it follows from the seed: ε of an iteration from (seed, iteration). So a restoration that goes on from a checkpoint
comes to the same bits as one that was not interrupted, on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import CheckpointError, DivergedError
from sparse_plugin.restore.fit import Fit, Point
from sparse_plugin.restore.held_out import HeldOut
from sparse_plugin.restore.result import Choice, Curves, RestorationResult
from sparse_plugin.restore.scores import array_of, psnr
from sparse_plugin.restore.scores import scores as scores_of
from sparse_plugin.restore.stopping import HELD_OUT, Stopping
from sparse_plugin.restore.tasks import Task
from sparse_plugin.runs import checkpoints

# The share of the past in the averaged output, as in the official denoising; which gives the first output, a grey one,
# the whole weight that is left, e^-3 after 300 iterations. Here the weights are those of outputs since the first, summing to 1.
AVERAGING = 0.99


class Restoration:
    """The restoration of given, (1, C, h, w) with values in [0, 1], after `iteration` iterations.

    width: multiplies the task's channels. scales: of the network. clean: (1, C, H, W), only measured against. precision: in
    precision.PRECISIONS. compiled: whether the network is run by torch.compile.
    The image is one that `check_size` and the task take.
    """

    def __init__(
        self,
        given: Tensor,
        task: Task,
        sparse: SparsityConfig | None,
        stopping: Stopping,
        *,
        seed: int,
        width: float,
        scales: int,
        clean: Tensor | None,
        device: torch.device,
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        self.given, self.task, self.stopping = given.to(device), task, stopping
        self.clean = None if clean is None else clean.to(device)
        self.device = device
        height, across = task.size(given.shape[2:])
        self.fit = Fit(
            *(task, given.shape[1], (height, across), sparse),
            seed=seed,
            width=width,
            scales=scales,
            device=device,
            precision=precision,
            compiled=compiled,
        )
        self.attachment = self.fit.attachment
        self.iteration = 0
        self.curves = Curves()
        self.chosen: Choice | None = None  # what a race chose
        self._average: Tensor | None = None
        self._output: Tensor | None = None
        self._kept: tuple[int, Tensor, Tensor] | None = None  # iteration, output, average at the lowest variance
        self._point: Point | None = None  # what `refit` goes on from
        self._refitted = 0
        self._sizes: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        count = sum(p.numel() for p in self.fit.network.parameters())
        attached = "" if self.attachment is None else f", {self.attachment.regularizer}"
        size = f"{self.given.shape[3]}x{self.given.shape[2]}"
        return f"{self.task.whole.name} {size}, a network of {count:,} parameters{attached}, on {self.device}"

    def step(self, measure: bool) -> None:
        """One iteration. measure: whether the densities of Γ_1..Γ_K are taken.

        Raises DivergedError for a loss that is not finite.
        """
        self.iteration += 1
        z = self.fit.input(self.iteration)
        if measure:
            self.curves.density[self.iteration], self._sizes = self.fit.densities(z)
        output = self.fit.image(z)
        loss = self.task.loss(output, self.given)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is no finite number in iteration {self.iteration}; give another seed, or less regularization"
            )
        completed = self.task.complete(output.detach(), self.given)
        if self.fit.good(value):
            self._see(completed)
            self.fit.descend(loss)
        else:
            self.curves.backtracked.append(self.iteration)
        self.curves.loss.append(value)
        self.curves.variance.append(self.stopping.variance)
        if self.clean is not None:
            assert self._average is not None
            self.curves.psnr_single.append(psnr(completed, self.clean))
            self.curves.psnr_average.append(psnr(self._average, self.clean))

    def _see(self, output: Tensor) -> None:
        """Average the outputs, and keep the pair at the lowest variance."""
        self._output = output
        if self._average is None:
            self._average = output.clone()
        else:
            self._average.lerp_(output, _weight(self.iteration - len(self.curves.backtracked)))
        if self.stopping.see(output, self._average):
            self._kept = (self.iteration, output, self._average.clone())
            if isinstance(self.task, HeldOut):
                self._point = self.fit.point()

    def refit(self, iterations: int, go_on: Callable[[], bool]) -> bool:
        """Go on from the iteration that was chosen with the held-out pixels in the loss: they have said what they can say, and
        are known as well as the others. Without held-out pixels nothing is done. go_on: asked before each iteration.

        Returns whether it was done; where it was not, and where the loss is no finite number, the result is as it was chosen.
        """
        if self._kept is None or self._point is None or self._refitted:
            return True
        begun, output, average = self._kept
        self.fit.back_to(self._point)
        average, whole = average.clone(), self.task.whole
        count = begun - sum(iteration <= begun for iteration in self.curves.backtracked)
        for iteration in range(begun + 1, begun + 1 + iterations):
            if not go_on():
                return False
            image = self.fit.image(self.fit.input(iteration))
            loss = whole.loss(image, self.given)
            value = float(loss.detach())
            if not math.isfinite(value):
                return True
            if self.fit.good(value):
                count += 1
                output = whole.complete(image.detach(), self.given)
                average.lerp_(output, _weight(count))
                self.fit.descend(loss)
        self._kept, self._refitted = (begun, output, average), iterations
        return True

    def merits(self) -> dict[str, Any]:
        """The latest figures: variance, sparsity (the density of each Γ in percent), PSNR and SSIM, where there are any."""
        found: dict[str, Any] = {}
        if math.isfinite(self.stopping.variance):
            found["heldout" if self.stopping.rule == HELD_OUT else "variance"] = self.stopping.variance
        if self.iteration in self.curves.density:
            found["sparsity"] = [round(100 * share, 4) for share in self.curves.density[self.iteration]]
        if self.clean is not None and self._output is not None and self._average is not None:
            found |= scores_of({"single": self._output, "average": self._average}, self.clean)
        return found

    def result(self) -> RestorationResult:
        """What there is now: at the lowest variance, or where no rule chooses the latest. At least one iteration was done."""
        assert self._output is not None and self._average is not None
        iteration, single, average = self._kept or (self.iteration, self._output, self._average)
        single, average = (self.task.whole.complete(image, self.given) for image in (single, average))
        scores: dict[str, float] = {}
        if self.clean is not None:
            named = {"single": single, "average": average}
            if self.given.shape == self.clean.shape:
                named["given"] = self.given
            scores = scores_of(named, self.clean)
            scores |= {f"best_{name}": self.curves.best(f"psnr_{name}")[0] for name in ("single", "average")}
        return RestorationResult(
            array_of(average),
            array_of(single),
            iteration,
            len(self.curves.loss),  # not the one that an interruption cut short
            self.stopping.over,
            scores,
            self.curves,
            self._sizes,
            self.chosen or self.choice(),
        )

    def choice(self) -> Choice | None:
        """What the rule chose so far."""
        if self._kept is None or self.stopping.rule is None:
            return None
        iteration, pixels = self._kept[0], self.task.pixels if isinstance(self.task, HeldOut) else 0
        # Of an iteration that an interruption cut short there may be no value yet; of a finished restoration no rule any more.
        value = self.curves.variance[iteration - 1] if iteration <= len(self.curves.variance) else self.stopping.lowest
        return Choice(self.stopping.rule, value, iteration, pixels, refit=self._refitted)

    def save(self, folder: Path, finished: bool) -> None:
        """Write a checkpoint; of a finished restoration only what `result` needs, as nothing goes on from it.

        Raises OutputError.
        """
        of_the_fit, good_loss = self.fit.state()
        tensors = {"seen": self._seen()}
        if not finished:
            tensors |= of_the_fit
            tensors["stopping"] = self.stopping.state()
            if self._point is not None:
                tensors |= {"kept_network": self._point.network, "kept_optimizer": self._point.optimizer}
        more = {
            "finished": finished,
            "stopped": self.stopping.over,
            "good_loss": good_loss,
            "kept": None if self._kept is None else self._kept[0],
            "fallbacks": self.curves.backtracked,  # its name of 0.1
            "sizes": self._sizes,
            "refitted": self._refitted,
            "chosen": None if self.chosen is None else self.chosen.to_json(),
        }
        checkpoints.save(folder, self.iteration, tensors, more, keep=1)

    def _seen(self) -> dict[str, Tensor]:
        """The outputs and the curves."""
        assert self._output is not None and self._average is not None
        seen = {"output": self._output, "average": self._average}
        if self._kept is not None:
            seen |= {"kept_output": self._kept[1], "kept_average": self._kept[2]}
        seen |= {name: torch.tensor(getattr(self.curves, name), dtype=torch.float64) for name in _CURVES}
        density = self.curves.density
        seen["measured"] = torch.tensor(list(density), dtype=torch.int64)
        seen["density"] = torch.tensor(list(density.values()), dtype=torch.float64)
        return seen

    def load(self, folder: Path, iteration: int) -> bool:
        """Go back to the checkpoint of an iteration. Returns whether the restoration was finished.

        Raises CheckpointError where it is damaged or of another network.
        """
        more, tensors = checkpoints.load(folder, iteration)
        with checkpoints.taking(folder, iteration):
            self._take_seen(more, tensors["seen"])
            self.iteration = iteration
            if more["finished"]:
                self.stopping.waited = self.stopping.patience if more["stopped"] else 0
                return True
            try:
                self.fit.load(tensors, float(more["good_loss"]))
            except RuntimeError as error:
                raise CheckpointError(
                    f"the checkpoint {checkpoints.place(folder, iteration)} is of another network: {error}; start anew"
                ) from None
            if "kept_network" in tensors:
                self._point = Point(tensors["kept_network"], tensors.get("kept_optimizer", {}))
            self.stopping.load({name: t.to(self.device) for name, t in tensors["stopping"].items()})
        return False

    def _take_seen(self, more: Mapping[str, Any], seen: Mapping[str, Tensor]) -> None:
        """The outputs and the curves, of a checkpoint."""
        self._output, self._average = (seen[name].to(self.device) for name in ("output", "average"))
        if more["kept"] is not None:
            output, average = (seen[name].to(self.device) for name in ("kept_output", "kept_average"))
            self._kept = (int(more["kept"]), output, average)
        for name in _CURVES:
            setattr(self.curves, name, seen[name].tolist())
        self.curves.density = dict(zip(seen["measured"].tolist(), seen["density"].tolist(), strict=True))
        self.curves.backtracked = [int(i) for i in more["fallbacks"]]
        self._sizes = tuple((int(height), int(width)) for height, width in more["sizes"])
        self._refitted = int(more.get("refitted", 0))
        self.chosen = Choice.from_json(more["chosen"]) if more.get("chosen") else None


_CURVES = ("loss", "variance", "psnr_single", "psnr_average")


def _weight(count: int) -> float:
    """Of the latest output in the average of so many."""
    return (1 - AVERAGING) / (1 - AVERAGING**count)

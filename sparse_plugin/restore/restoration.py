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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.attach import attach
from sparse_plugin.attachment.child import children
from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import CheckpointError, DivergedError
from sparse_plugin.restore.held_out import HeldOut
from sparse_plugin.restore.result import Choice, Curves, RestorationResult
from sparse_plugin.restore.scores import array_of, psnr
from sparse_plugin.restore.scores import scores as scores_of
from sparse_plugin.restore.stopping import HELD_OUT, Stopping
from sparse_plugin.restore.task_network import network_of
from sparse_plugin.restore.tasks import Task
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.seeds import key
from sparse_plugin.support.precision import PRECISIONS

# The share of the past in the averaged output, as in the official denoising; which gives the first output, a grey one,
# the whole weight that is left, e^-3 after 300 iterations. Here the weights are those of outputs since the first, summing to 1.
AVERAGING = 0.99
# An iteration whose loss is so many times the one before, 5 dB as officially, goes back to the weights before.
BACKTRACKING = 10**0.5
# The network's input is uniform noise from 0 to this.
AMPLITUDE = 0.1

_ROLE = "network"


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
        self.given, self.task, self.stopping, self.seed = given.to(device), task, stopping, seed
        self.clean = None if clean is None else clean.to(device)
        self.device, self.scales = device, scales
        torch.manual_seed(key(_ROLE, seed))
        self.network = network_of(task, given.shape[1], width, scales)
        height, across = task.size(given.shape[2:])
        self.network.to(device)
        multiple = self.network.multiple
        canvas = [-(-side // multiple) * multiple for side in (height, across)]
        top, left = (canvas[0] - height) // 2, (canvas[1] - across) // 2
        self._inside = (..., slice(top, top + height), slice(left, left + across))
        source = torch.Generator().manual_seed(key("input", seed))
        self._z = AMPLITUDE * torch.rand(1, task.settings.input_channels, *canvas, generator=source)
        self.attachment = None
        if sparse is not None:  # before the optimizer is made, which is to train what is inserted
            every = [] if sparse.adapter or sparse.apart else [f"encoders.{i}:output" for i in range(scales)]
            config = sparse.with_(sites=sparse.sites or every, measure_every=0)
            self.attachment = attach(self.network, config, example_input=self._z.to(device))
        self._run = torch.compile(self.network) if compiled else self.network
        self._autocast = partial(
            torch.autocast, device.type, PRECISIONS[precision], enabled=precision != "float32", cache_enabled=False
        )
        self.optimizer = torch.optim.Adam(self.network.parameters(), task.settings.rate, fused=True)
        self.iteration = 0
        self.curves = Curves()
        self.chosen: Choice | None = None  # what a race chose
        self._average: Tensor | None = None
        self._output: Tensor | None = None
        self._kept: tuple[int, Tensor, Tensor] | None = None  # iteration, output, average at the lowest variance
        self._point: _Point | None = None  # what `refit` goes on from
        self._refitted = 0
        self._good = [t.detach().clone() for t in _tensors(self.network)]
        self._good_loss = math.inf
        self._sizes: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        count = sum(p.numel() for p in self.network.parameters())
        attached = "" if self.attachment is None else f", {self.attachment.regularizer}"
        size = f"{self.given.shape[3]}x{self.given.shape[2]}"
        return f"{self.task.whole.name} {size}, a network of {count:,} parameters{attached}, on {self.device}"

    def step(self, measure: bool) -> None:
        """One iteration. measure: whether the densities of Γ_1..Γ_K are taken.

        Raises DivergedError for a loss that is not finite.
        """
        self.iteration += 1
        z = self._input(self.iteration)
        if measure:
            self._measure(z)
        output = self._forward(z)
        loss = self.task.loss(output, self.given)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is no finite number in iteration {self.iteration}; give another seed, or less regularization"
            )
        completed = self.task.complete(output.detach(), self.given)
        if value > BACKTRACKING * self._good_loss:
            self.curves.backtracked.append(self.iteration)
            _copy(self._good, _tensors(self.network))
            for child in children(self.network):
                child.read()  # the step of these weights
        else:
            _copy(_tensors(self.network), self._good)
            self._good_loss = value
            self._see(completed)
            self._descend(loss)
        self.curves.loss.append(value)
        self.curves.variance.append(self.stopping.variance)
        if self.clean is not None:
            assert self._average is not None
            self.curves.psnr_single.append(psnr(completed, self.clean))
            self.curves.psnr_average.append(psnr(self._average, self.clean))

    def _input(self, iteration: int) -> Tensor:
        """z + ε of an iteration."""
        source = torch.Generator().manual_seed(key("jitter", self.seed, iteration))  # its name of 0.1
        noise = torch.randn(self._z.shape, generator=source)  # on the CPU: the same on every device
        return self._z.add(noise, alpha=self.task.settings.input_noise).to(self.device)

    def _forward(self, z: Tensor) -> Tensor:
        """The network's image, of the size that the task asks for."""
        with self._autocast():
            output = self._run(z)
        return output[self._inside].float()

    def _descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

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
                self._note_point()

    def _note_point(self) -> None:
        """Keep what the iteration at work began from."""
        network, optimizer = self.network.state_dict(), checkpoints.optimizer_tensors(_ROLE, self.optimizer)
        self._point = _Point(*({name: t.clone() for name, t in of.items()} for of in (network, optimizer)))

    def refit(self, iterations: int, go_on: Callable[[], bool]) -> bool:
        """Go on from the iteration that was chosen with the held-out pixels in the loss: they have said what they can say, and
        are known as well as the others. Without held-out pixels nothing is done. go_on: asked before each iteration.

        Returns whether it was done; where it was not, and where the loss is no finite number, the result is as it was chosen.
        """
        if self._kept is None or self._point is None or self._refitted:
            return True
        begun, output, average = self._kept
        self.network.load_state_dict(self._point.network)
        checkpoints.restore_optimizer(_ROLE, self.optimizer, self._point.optimizer)
        average, whole, good_loss = average.clone(), self.task.whole, math.inf
        count = begun - sum(iteration <= begun for iteration in self.curves.backtracked)
        for iteration in range(begun + 1, begun + 1 + iterations):
            if not go_on():
                return False
            image = self._forward(self._input(iteration))
            loss = whole.loss(image, self.given)
            value = float(loss.detach())
            if not math.isfinite(value):
                return True
            if value > BACKTRACKING * good_loss:
                _copy(self._good, _tensors(self.network))
                continue
            _copy(_tensors(self.network), self._good)
            good_loss, count = value, count + 1
            output = whole.complete(image.detach(), self.given)
            average.lerp_(output, _weight(count))
            self._descend(loss)
        self._kept, self._refitted = (begun, output, average), iterations
        return True

    @torch.no_grad()
    def _measure(self, z: Tensor) -> None:
        """Note the share of non-zeros of what every encoder scale hands on, and its size.

        By a forward pass of its own, so that measuring more or less often changes nothing, nor compiles anything anew.
        """
        seen: list[Tensor] = []
        handles = [
            self.network.get_submodule(f"encoders.{i}").register_forward_hook(
                lambda *args: seen.append(args[2].detach())
            )
            for i in range(self.scales)
        ]
        try:
            with self._autocast():
                self.network(z)
        finally:
            for handle in handles:
                handle.remove()
        self.curves.density[self.iteration] = [float((gamma != 0).float().mean()) for gamma in seen]
        self._sizes = tuple((gamma.shape[2], gamma.shape[3]) for gamma in seen)

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
        tensors = {"seen": self._seen()}
        if not finished:
            tensors["network"] = self.network.state_dict()
            tensors["good"] = {str(i): t for i, t in enumerate(self._good)}
            tensors["optimizer"] = checkpoints.optimizer_tensors(_ROLE, self.optimizer)
            tensors["stopping"] = self.stopping.state()
            if self._point is not None:
                tensors |= {"kept_network": self._point.network, "kept_optimizer": self._point.optimizer}
        more = {
            "finished": finished,
            "stopped": self.stopping.over,
            "good_loss": self._good_loss,
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
                self.network.load_state_dict(tensors["network"])
            except RuntimeError as error:
                raise CheckpointError(
                    f"the checkpoint {checkpoints.place(folder, iteration)} is of another network: {error}; start anew"
                ) from None
            checkpoints.restore_optimizer(_ROLE, self.optimizer, tensors["optimizer"])
            _copy([tensors["good"][str(i)] for i in range(len(self._good))], self._good)
            self._good_loss = float(more["good_loss"])
            if "kept_network" in tensors:
                self._point = _Point(tensors["kept_network"], tensors.get("kept_optimizer", {}))
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


@dataclass(frozen=True)
class _Point:
    """What an iteration begins from: the tensors of the network and of the optimizer, by name."""

    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def _weight(count: int) -> float:
    """Of the latest output in the average of so many."""
    return (1 - AVERAGING) / (1 - AVERAGING**count)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    torch._foreach_copy_(target, source)

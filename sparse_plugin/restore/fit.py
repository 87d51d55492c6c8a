"""The network that is fitted to an image: its fixed input, its optimizer, and going back where a step was a bad one.

All of it follows from the seed: ε of an iteration from (seed, iteration).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.attach import attach
from sparse_plugin.attachment.child import children
from sparse_plugin.config import SparsityConfig
from sparse_plugin.restore.task_network import network_of
from sparse_plugin.restore.tasks import Task
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.seeds import key
from sparse_plugin.support.precision import PRECISIONS

# An iteration whose loss is so many times the one before, 5 dB as officially, goes back to the weights before.
BACKTRACKING = 10**0.5
# The network's input is uniform noise from 0 to this.
AMPLITUDE = 0.1

_ROLE = "network"


@dataclass(frozen=True)
class Point:
    """What an iteration begins from: the tensors of the network and of the optimizer, by name."""

    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class Fit:
    """f_θ(z + ε), of the task's architecture and as many channels as the image, that gives an image of the given (height, width).

    width: multiplies the task's channels. scales: of the network. sparse: what is attached, None for nothing. precision: in
    precision.PRECISIONS. compiled: whether the network is run by torch.compile.
    """

    def __init__(
        self,
        task: Task,
        channels: int,
        size: tuple[int, int],
        sparse: SparsityConfig | None,
        *,
        seed: int,
        width: float,
        scales: int,
        device: torch.device,
        precision: str,
        compiled: bool,
    ) -> None:
        self.seed, self.device, self.scales = seed, device, scales
        self._jitter = task.settings.input_noise
        torch.manual_seed(key(_ROLE, seed))
        self.network = network_of(task, channels, width, scales)
        self.network.to(device)
        multiple = self.network.multiple
        canvas = [-(-side // multiple) * multiple for side in size]
        top, left = ((whole - side) // 2 for whole, side in zip(canvas, size, strict=True))
        self._inside = (..., slice(top, top + size[0]), slice(left, left + size[1]))
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
        self._good = [t.detach().clone() for t in _tensors(self.network)]
        self._good_loss = math.inf

    def input(self, iteration: int) -> Tensor:
        """z + ε of an iteration."""
        source = torch.Generator().manual_seed(key("jitter", self.seed, iteration))  # its name of 0.1
        noise = torch.randn(self._z.shape, generator=source)  # on the CPU: the same on every device
        return self._z.add(noise, alpha=self._jitter).to(self.device)

    def image(self, z: Tensor) -> Tensor:
        """f_θ of an input, float32."""
        with self._autocast():
            whole: Tensor = self._run(z)
        return whole[self._inside].float()

    def good(self, loss: float) -> bool:
        """Whether the weights are as good as those before, by their loss: else they go back to those."""
        if loss > BACKTRACKING * self._good_loss:
            _copy(self._good, _tensors(self.network))
            for child in children(self.network):
                child.read()  # the step of these weights
            return False
        _copy(_tensors(self.network), self._good)
        self._good_loss = loss
        return True

    def descend(self, loss: Tensor) -> None:
        """A step of the optimizer."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def point(self) -> Point:
        """What the iteration at work began from, before its step."""
        network, optimizer = self.network.state_dict(), checkpoints.optimizer_tensors(_ROLE, self.optimizer)
        return Point(*({name: t.clone() for name, t in of.items()} for of in (network, optimizer)))

    def back_to(self, point: Point) -> None:
        """Begin from a point again, whatever the loss comes to."""
        self.network.load_state_dict(point.network)
        checkpoints.restore_optimizer(_ROLE, self.optimizer, point.optimizer)
        self._good_loss = math.inf

    @torch.no_grad()
    def densities(self, z: Tensor) -> tuple[list[float], tuple[tuple[int, int], ...]]:
        """The share of non-zeros of what every encoder scale hands on, and its height and width.

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
        return [float((gamma != 0).float().mean()) for gamma in seen], tuple((gamma.shape[2], gamma.shape[3]) for gamma in seen)

    def state(self) -> tuple[dict[str, dict[str, Tensor]], float]:
        """Tensors for a checkpoint, by file and name, and the loss of the good weights."""
        tensors = {
            "network": self.network.state_dict(),
            "good": {str(i): t for i, t in enumerate(self._good)},
            "optimizer": checkpoints.optimizer_tensors(_ROLE, self.optimizer),
        }
        return tensors, self._good_loss

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], good_loss: float) -> None:
        """Go on from `state`. Raises RuntimeError for that of another network."""
        self.network.load_state_dict(tensors["network"])
        checkpoints.restore_optimizer(_ROLE, self.optimizer, tensors["optimizer"])
        _copy([tensors["good"][str(i)] for i in range(len(self._good))], self._good)
        self._good_loss = good_loss


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    torch._foreach_copy_(target, source)

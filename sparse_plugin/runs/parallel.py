"""The processes that torchrun started: one a device, or several on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sparse_plugin.support.device import device_of, whole_number


@dataclass(frozen=True)
class Processes:
    """rank: this process, from 0; count: how many there are; device: this one's."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and says things."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """module, whose gradients are averaged over the processes.

        Buffers are each process's own: batch statistics are those of its part, and broadcasting them would write into
        tensors that the graph of an earlier forward pass still needs.
        """
        if self.count == 1:
            return module
        return DistributedDataParallel(module, broadcast_buffers=False)

    def averaging(self, module: nn.Module, now: bool) -> AbstractContextManager[None]:
        """Around a forward and backward pass: whether it ends in averaging, or only accumulates gradients."""
        if now or not isinstance(module, DistributedDataParallel):
            return nullcontext()
        return cast(AbstractContextManager[None], module.no_sync())

    def maximum(self, value: Tensor) -> Tensor:
        """The largest value over the processes."""
        if self.count > 1:
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def processes(device: str | None) -> Iterator[Processes]:
    """The processes of this run, as torchrun's environment has them; one where it has none.

    device: "cpu", "cuda" or "cuda:1"; by default CUDA where there is one. Raises ConfigError where it is not there.
    """
    rank, count = whole_number("RANK", 0), whole_number("WORLD_SIZE", 1)
    if device in (None, "", "cuda") and torch.cuda.is_available():
        device = f"cuda:{whole_number('LOCAL_RANK', 0)}"
    chosen = device_of(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    mine = not dist.is_initialized()
    if mine:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, chosen)
    finally:
        if mine:
            dist.destroy_process_group()

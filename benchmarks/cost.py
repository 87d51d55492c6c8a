"""What the runs of the paper's tables cost: `python benchmarks/cost.py`.

Floating-point operations of one step of every recipe at 32 pixels, as torch.utils.flop_counter counts convolutions
and matrix products (a multiplication and an addition are two), forward and backward. The hours are no measurement: they are
these operations at a throughput that small convolutions in mixed precision reach on one GPU of 2020 or later.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sparse_plugin.data import Images
from sparse_plugin.gans import architectures, recipe
from sparse_plugin.gans.trainer import Trainer
from sparse_plugin.runs.config import DataConfig, RunConfig
from sparse_plugin.runs.parallel import processes
from sparse_plugin.runs.rundir import RunDirectory

# Operations a second that are assumed, 10^12.
SUSTAINED = 15
SMALL = 4


class Counter(TorchDispatchMode):
    """Unlike FlopCounterMode, it does not mind gradients of gradients."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def operations(arch: str) -> float:
    """Of one step, at the recipe's batch."""
    chosen = recipe(arch)
    classes = 10 if chosen.conditional else 0
    config = RunConfig(chosen.arch, 32, 1.0, SMALL, 10, 1, "float32", 0, classes, None, DataConfig(1.0))
    images = Images(torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.arange(64) % 10, tuple("abcdefghij"), "zeros")
    with processes("cpu") as group, tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            dataclasses.replace(chosen, batch=SMALL), images, config, None, RunDirectory(Path(folder)), group
        )
        with Counter() as counter:
            trainer.train_step(0)
    return counter.total * chosen.batch / SMALL


def main() -> None:
    print(
        f"| recipe | steps | 10^9 operations a step | hours a run at {SUSTAINED} · 10^12/s | hours of table 1, 5 methods, 3 seeds |"
    )
    print("| --- | --- | --- | --- | --- |")
    total = 0.0
    for arch in architectures():
        each = operations(arch)
        hours = each * recipe(arch).steps / SUSTAINED / 1e12 / 3600
        total += 15 * hours
        print(f"| `{arch}` | {recipe(arch).steps:,} | {each / 1e9:,.0f} | {hours:.1f} | {15 * hours:.0f} |", flush=True)
    print(f"| all | | | | {total:.0f} |")


if __name__ == "__main__":
    main()

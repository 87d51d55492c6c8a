"""What one of the demo's training runs came to: samples, measurements, atoms."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.attachment.atoms import atoms
from sparse_plugin.attachment.handle import Attachment
from sparse_plugin.demo.training import Training
from sparse_plugin.hosts.enable import disable, enable
from sparse_plugin.measurements.gamma import Measurement


@dataclass(frozen=True)
class TrainedResult:
    """A trained generator, looked at in eval mode, and the log of its training."""

    training: Training
    records: list[dict[str, Any]]
    images: Tensor  # (N, 3, 32, 32), values in [-1, 1]
    measured: Measurement
    atoms: Tensor  # (C, 3, 3, 3)
    fullest: int  # ‖Γ‖_{0,inf}: the non-zeros of the fullest needle

    @property
    def curve(self) -> tuple[list[int], list[float], list[float]]:
        """Steps, and the sparsity levels of the training batches before and after the projection."""
        columns = zip(*((r["step"], r["sparsity_before"], r["sparsity"]) for r in self.records), strict=True)
        steps, before, after = map(list, columns)
        return steps, before, after

    @property
    def seconds_per_step(self) -> float:
        """The median over the intervals of the log; steps before the first interval, which warm up, are left out."""
        pairs = list(zip(self.records, self.records[1:], strict=False))
        paces = [(b["time"] - a["time"]) / (b["step"] - a["step"]) for a, b in pairs[1:] or pairs]
        return float(statistics.median(paces))


def load_result(training: Training, steps: int, width: int, folder: Path, noise: Tensor) -> TrainedResult:
    """The result of a finished run: its last checkpoint, sampled with noise (N, nz).

    The generator is built with the plugin on, under the run's settings: its checkpoint refuses any other.
    """
    enable("mimicry", "l0_inf", k=training.k)
    try:
        from torch_mimicry.nets.sngan import SNGANGenerator32

        generator = SNGANGenerator32(ngf=width).eval()
    finally:
        disable()
    generator.restore_checkpoint(str(folder / training.log_dir / "checkpoints" / "netG" / f"netG_{steps}_steps.pth"))
    handle = Attachment.of(generator)
    assert handle is not None
    (measured,) = handle.measure(noise)
    seen: list[Tensor] = []
    # After the plugin's own hook on D1, this one sees what D1 really consumes.
    watch = generator.c5.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        images = generator(noise)
    watch.remove()
    fullest = int((seen[0] != 0).sum(1).max())
    return TrainedResult(training, training.records(folder), images, measured, atoms(generator).detach(), fullest)


def crops(count: int, seed: int) -> Tensor:
    """Training images, as the script cuts them: (count, 3, 32, 32), values in [-1, 1]."""
    enable("mimicry", "l0_inf", k=1.0)  # what torch_mimicry needs to be imported, comes with it
    try:
        from sparse_plugin.demo.train import crops as cut
    finally:
        disable()
    return cut(count, seed)

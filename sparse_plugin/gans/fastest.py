"""`--precision auto`: float32 or bfloat16, whichever takes less time a step here, measured before a run begins."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sparse_plugin.gans.trainer import Trainer
    from sparse_plugin.runs.parallel import Processes

log = logging.getLogger("sparse_plugin")

AUTO = "auto"
CANDIDATES = ("float32", "bfloat16")
# Steps that are taken before the clock starts, and steps that are timed, of which the fastest counts.
WARM, TIMED = 2, 3
# bfloat16 gives up digits, so it has to be worth that much of a step.
WORTH = 0.9


def fastest(trainer_in: Callable[[str], Trainer], group: Processes) -> tuple[str, dict[str, float]]:
    """The precision of the fewest seconds a step, and these seconds by precision; float32 unless bfloat16 saves a tenth.

    trainer_in: makes a trainer in a precision, which is thrown away after a few steps. All processes come to the same.
    """
    seconds = {name: _seconds(trainer_in(name), group) for name in CANDIDATES}
    chosen = "bfloat16" if seconds["bfloat16"] < WORTH * seconds["float32"] else "float32"
    return chosen, seconds


def said(chosen: str, seconds: dict[str, float]) -> str:
    """The choice in a line."""
    ratio = seconds["bfloat16"] / seconds["float32"]
    return (
        f"precision auto: {chosen}, for a step takes {seconds['float32']:.3g} s in float32 and {seconds['bfloat16']:.3g} s in "
        f"bfloat16, {ratio:.2f} times as long"
    )


def _seconds(trainer: Trainer, group: Processes) -> float:
    taken = []
    for step in range(WARM + TIMED):
        begin = time.perf_counter()
        trainer.train_step(step)
        if group.device.type == "cuda":
            torch.cuda.synchronize(group.device)
        if step >= WARM:
            taken.append(time.perf_counter() - begin)
    return float(group.maximum(torch.tensor(min(taken), device=group.device)))

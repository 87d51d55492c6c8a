"""Whether a lower precision is a faster one: not on every CPU, so it is measured on this one."""

from __future__ import annotations

import logging
import time
from functools import cache

import torch
from torch.nn import functional as F

log = logging.getLogger("sparse_plugin")

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Ratios up to this are not worth a word: measured in a moment, they vary by as much.
WORTH_SAYING = 1.25


@cache
def slowdown(precision: str) -> float:
    """The time of a convolution in automatic mixed precision over that in float32, on this CPU, measured now: the shortest
    of three forward and backward passes of 3x3, 64 to 64 channels, 4 maps of 16x16. It draws no random numbers.
    """
    x, weight = torch.ones(4, 64, 16, 16), torch.ones(64, 64, 3, 3, requires_grad=True)

    def seconds(dtype: torch.dtype) -> float:
        times = []
        for _ in range(4):  # the first makes the kernels
            start = time.perf_counter()
            with torch.enable_grad(), torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
                y = F.conv2d(x, weight, padding=1)
            torch.autograd.grad(y.float().sum(), weight)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    return seconds(PRECISIONS[precision]) / seconds(torch.float32)


def tell(precision: str, device: torch.device) -> None:
    """Warn where a precision is asked for that is slower than float32 on the CPU that it is to run on."""
    if precision == "float32" or device.type != "cpu":
        return
    ratio = slowdown(precision)
    if ratio > WORTH_SAYING:
        log.warning(
            "%s takes %.1f times as long as float32 on this CPU, measured now on a convolution forward and backward: it lacks "
            "instructions for it; float32 (--precision float32, the default) is faster",
            precision,
            ratio,
        )

"""Counting the non-zeros of Γ: in needles, in stripes, and against the values of the signal that Γ synthesizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Counts:
    """Those of one representation, over as many batches as are added. reach: as `bounds.reach` says of its dictionary."""

    def __init__(self, reach: Sequence[Sequence[int]]) -> None:
        self.reach = reach
        self.samples = 0
        self.stripes = torch.zeros(1, dtype=torch.int64)  # how many there are, by their non-zeros
        self.needle = 0  # non-zeros of the fullest needle
        self.nonzeros: list[int] = []  # of each sample
        self.values: list[int] = []  # of the signal of each sample that an equation tells
        self.usage: Tensor | None = None  # how many positions use each atom

    @property
    def fullest(self) -> int:
        """‖Γ‖_0,inf: the non-zeros of the fullest stripe."""
        return len(self.stripes) - 1

    def add(self, gamma: Tensor, values: Sequence[int]) -> None:
        """Count a batch. gamma: (N, C, ...). values: of the signal of each sample, an equation each."""
        used = gamma.detach() != 0
        needles = used.sum(1)
        found = torch.bincount(stripes(needles, self.reach).flatten()).cpu()
        size = max(len(found), len(self.stripes))
        self.stripes = torch.nn.functional.pad(self.stripes, (0, size - len(self.stripes)))
        self.stripes[: len(found)] += found
        self.needle = max(self.needle, int(needles.max()) if needles.numel() else 0)
        self.samples += len(gamma)
        self.nonzeros += needles.flatten(1).sum(1).tolist()
        self.values += values
        usage = used.sum((0, *range(2, used.dim()))).cpu()
        self.usage = usage if self.usage is None else self.usage + usage


def stripes(needles: Tensor, reach: Sequence[Sequence[int]]) -> Tensor:
    """The non-zeros of the stripe of every position: of all needles whose atoms meet those of the one there.

    needles: (N, ...), non-zeros of each. The grid ends at its border: beyond it there are no needles.
    """
    total = needles
    for axis, shifts in enumerate(reach, 1):
        length, summed = total.shape[axis], torch.zeros_like(total)
        for shift in shifts:
            count = length - abs(shift)
            if count > 0:
                summed.narrow(axis, max(0, -shift), count).add_(total.narrow(axis, max(0, shift), count))
        total = summed
    return total


def effective_number(usage: Tensor) -> float:
    """How many atoms there would be if all were used alike: the exponential of the entropy of their shares of the non-zeros."""
    total = float(usage.sum())
    shares = (usage.double() / total)[usage > 0] if total else usage.new_zeros(0).double()
    return math.exp(-float((shares * shares.log()).sum())) if total else 0.0

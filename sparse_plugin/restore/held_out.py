"""Held-out pixels: a few of the known pixels are kept out of the loss, and the error there says how good an image is.

The network never sees them, and noise of one pixel says nothing of another's, so on the set H of held-out pixels

    E ‖A(x)_H - y_H‖² / |H|  =  ‖A(x)_H - A(x*)_H‖² / |H| + σ²,   x* the clean image

and σ², known or not, is the same for every iteration and every k: what has the lowest error there is taken. The same pixels for
all, so that differences are seen that are far smaller than the noise. In the end they come back: a fit to fewer pixels is a worse
one, so from what was taken on a few iterations more are done with all of them in the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.tasks import Task, TaskSettings
from sparse_plugin.runs.seeds import key

# Iterations with all pixels, and the share of all iterations that they are at most.
REFIT, REFIT_SHARE = 75, 1 / 16
# The share of the known pixels, how many there must be, and times their root how many there are at most: what the error there is
# worth follows from their number alone, and what the result loses from their share.
SHARE, LEAST, MOST = 0.05, 32, 3.0


def refits(iterations: int) -> int:
    """How many iterations with all pixels follow on a restoration of at most so many."""
    return min(REFIT, int(REFIT_SHARE * iterations))


def count(task: Task, given: Sequence[int]) -> int:
    """How many pixels of a given image, (height, width), are held out. Raises ConfigError where they are too few to tell anything."""
    known = int(task.known(given).sum())
    held = round(min(SHARE * known, MOST * math.sqrt(known)))
    if held < LEAST:
        raise ConfigError(
            f"{known} pixels are known, of which {100 * SHARE:g} % would be held out: {held}, where {LEAST} or more can tell; give an "
            f"image with {round(LEAST / SHARE)} known pixels or more, or choose k and the rule that stops yourself"
        )
    return held


class HeldOut(Task):
    """A task whose loss leaves out some of the known pixels, drawn from the seed; in the result they are as the task has them.

    given: (1, C, h, w). Raises ConfigError as `count` does.
    """

    name: ClassVar[str] = "held out"

    def __init__(self, task: Task, given: Tensor, seed: int) -> None:
        self.task = task
        known = task.known(given.shape[2:])
        self.pixels = count(task, given.shape[2:])
        places = known.flatten().nonzero()[:, 0]
        source = torch.Generator().manual_seed(key("held out", seed))
        held = torch.zeros(known.shape, dtype=torch.bool)
        held.view(-1)[places[torch.randperm(len(places), generator=source)[: self.pixels]]] = True
        self.held = held.to(given.device)
        # In the mean over all values, those that are left count for those that are held out.
        self._weights = (~self.held).float() * (len(places) / (len(places) - self.pixels))

    @property
    def settings(self) -> TaskSettings:
        return self.task.settings

    @property
    def whole(self) -> Task:
        return self.task

    def check(self, given: Sequence[int]) -> None:
        self.task.check(given)

    def size(self, given: Sequence[int]) -> tuple[int, int]:
        return self.task.size(given)

    def observe(self, image: Tensor) -> Tensor:
        return self.task.observe(image)

    def residual(self, image: Tensor, given: Tensor) -> Tensor:
        return self.task.residual(image, given)

    def known(self, given: Sequence[int]) -> Tensor:
        return self.task.known(given)

    def loss(self, image: Tensor, given: Tensor) -> Tensor:
        return (self.residual(image, given).square() * self._weights).mean()

    def complete(self, image: Tensor, given: Tensor) -> Tensor:
        """What is known put into the image, but for the held-out pixels, which are looked at."""
        completed = self.task.complete(image, given)
        return image if completed is image else torch.where(self.held, image, completed)

    def identity(self) -> dict[str, Any]:
        return self.task.identity()

    def error(self, image: Tensor, given: Tensor) -> float:
        """‖A(image) - given‖² over the values of the held-out pixels."""
        squares = self.residual(image, given).square() * self.held
        return float(squares.sum()) / (self.pixels * given.shape[1])


class HeldOutError:
    """The stopping rule's measure: the error of an image, the averaged output, at the held-out pixels."""

    def __init__(self, task: HeldOut, given: Tensor) -> None:
        self.task, self.given = task, given

    def __call__(self, image: Tensor) -> float:
        return self.task.error(image, self.given)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint: nothing, every value is of one image."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""

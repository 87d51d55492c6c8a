"""Losses that are handed to accelerate: by how much it divides them, and which networks they are said to train.

`Accelerator.backward` divides a loss by the number of accumulated steps, and `Accelerator.accumulate` is told whose step it is: a
discriminator's loss may reach the generator too, where the trainer does not detach its images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from sparse_plugin.attachment import divided_losses
from sparse_plugin.network.wrappers import unwrapped

_models: list[tuple[nn.Module, ...]] = []  # what runs inside accumulate(...), the innermost last


def is_of_others(generator: nn.Module | None) -> bool:
    """Whether the running backward pass is accelerate's, and of a loss that is said to train other networks than generator."""
    said = _models[-1] if _models and divided_losses.running() else ()
    if generator is None or not said:
        return False
    inside = set(generator.modules())
    networks = [unwrapped(model) for model in said]
    return not any(model in inside or any(part is generator for part in model.modules()) for model in networks)


def follow(undo: list[Callable[[], None]]) -> None:
    """Follow accelerate, if it was imported, until what is added to undo takes that back."""
    kind = getattr(sys.modules.get("accelerate.accelerator"), "Accelerator", None)
    for name, wrapper in (("backward", _backward), ("accumulate", _accumulate)):
        divided_losses.wrap(kind, name, wrapper, undo)


def _backward(wrapped: Any, accelerator: Any, args: Any, kwargs: Any) -> Any:
    with divided_losses.divided(accelerator.gradient_accumulation_steps):
        return wrapped(*args, **kwargs)


def _accumulate(wrapped: Any, accelerator: Any, args: Any, kwargs: Any) -> Any:
    return _accumulating(wrapped(*args, **kwargs), args)


@contextmanager
def _accumulating(context: Any, models: tuple[nn.Module, ...]) -> Iterator[Any]:
    _models.append(models)
    try:
        with context as given:
            yield given
    finally:
        _models.pop()

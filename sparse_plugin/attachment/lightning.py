"""Losses that Lightning computes the gradient of, by how much it divides them: by the batches that it accumulates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from sparse_plugin.attachment.divided_losses import divided, wrap

_MODULES = ("lightning.pytorch.strategies.strategy", "pytorch_lightning.strategies.strategy")


def follow(undo: list[Callable[[], None]]) -> None:
    """Follow Lightning, by either of its names, if it was imported, until what is added to undo takes that back."""
    for module in _MODULES:
        wrap(getattr(sys.modules.get(module), "Strategy", None), "backward", _backward, undo)


def _backward(wrapped: Any, strategy: Any, args: Any, kwargs: Any) -> Any:
    module = strategy.lightning_module
    with divided(module.trainer.accumulate_grad_batches if module.automatic_optimization else 1):  # else the script divides
        return wrapped(*args, **kwargs)

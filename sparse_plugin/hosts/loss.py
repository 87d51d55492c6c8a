"""The penalty in the loss of a host's generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sparse_plugin.hosts.generators import Generators
from sparse_plugin.registry.composition import penalizes


class Loss:
    """A generator's loss as the host computes it, for the generators that were built, with their penalty added."""

    def __init__(self, generators: Generators) -> None:
        self._generators = generators

    def add_penalty(self, share: float = 1.0) -> Callable[..., Any]:
        """A wrapt wrapper around the host's loss: its value with share of the penalty of the generator at work added."""

        def with_penalty(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            return self.with_penalty(wrapped(*args, **kwargs), instance, share)

        return with_penalty

    def with_penalty(self, loss: Any, instance: Any = None, share: float = 1.0) -> Any:
        """A generator's loss with share of the penalty added: of instance where it is a generator, else of those that ran."""
        import torch

        if not torch.is_grad_enabled():
            return loss
        found = self._generators.attachments()
        if isinstance(instance, torch.nn.Module) and instance in self._generators:
            found = [handle for handle in found if handle.generator is instance]
        mine = [handle for handle in found if handle.role == "generator" and penalizes(handle.regularizer) and handle.delivery == "loss"]
        # A function's loss belongs to the generators that have just run; EMA twins were built too, and did not.
        whole = loss
        for handle in [h for h in mine if h.pending] or mine:
            whole = whole + share * handle.penalty(loss if isinstance(loss, torch.Tensor) else None)
        return whole

"""Which step of training a generator stands for, where its regularizer changes over training.

The optimizer that trains a generator tells it. A checkpoint carries it, in a buffer beside the settings. A copy whose weights follow
another's, as an EMA's do, stands for the step up to which it has followed: hosts copy buffers with the weights, or average
them, or leave them alone, and then it is seen in the weights themselves.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger("sparse_plugin")

# Of a weight, which is looked at for whether it has changed.
_LOOKED_AT = 256

# Those whose generators an optimizer of this process trains, so that averages that were built on their own find them.
_trained: weakref.WeakSet[TrainingStep] = weakref.WeakSet()


class TrainingStep:
    """The step that one site's regularizer stands at, and the natural density of its Γ, if it was measured.

    kind: what must be equal of an original and of an average that was built on its own: class, site, settings.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.step = 0.0
        self.density: float | None = None
        self.trained = False  # by an optimizer of this process
        self.original: weakref.ref[TrainingStep] | None = None
        self._buffer: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._weight: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingStep:
        twin = TrainingStep(self.kind)
        twin.step, twin.density, twin._buffer = self.step, self.density, self._buffer
        twin.original = weakref.ref(self)
        memo[id(self)] = twin
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "trained": False, "original": None, "_weight": None}

    def advance(self, buffer: Tensor) -> None:
        """The optimizer that trains the generator took a step."""
        if not self.trained:
            self.trained = True
            _trained.add(self)
        self.step += 1
        self.write(buffer)

    def write(self, buffer: Tensor) -> None:
        """Put into the buffer what is known; nothing waits for the device."""
        known = self.density is not None
        self._buffer = (self.step, self.density or 0.0, float(known))
        with torch.no_grad():
            buffer.copy_(torch.tensor(self._buffer, dtype=torch.float32))

    def read(self, buffer: Tensor) -> None:
        """Take what a checkpoint, or a host that copies or averages buffers, has put into the buffer.

        The density stands there with a weight of its own, so that an average over steps at which it was not known is right.
        """
        if buffer.is_meta:
            return
        found = tuple(float(value) for value in buffer.tolist())
        if found != self._buffer:
            self._buffer = found
            self.step = found[0]
            self.density = found[1] / found[2] if found[2] > 0 else None

    def follow(self, buffer: Tensor, weight: Tensor | None) -> None:
        """Of a generator that no optimizer here trains: what it stands for now. weight: one of its own, which training changes."""
        before = self._buffer
        self.read(buffer)
        seen = None if weight is None or weight.is_meta else weight.detach().reshape(-1)[:_LOOKED_AT].clone()
        changed = self._weight is not None and seen is not None and not torch.equal(seen, self._weight.to(seen))
        self._weight = seen
        if self._buffer != before or not changed:
            return
        leader = self._leader()
        if leader is not None:
            self.step, self.density = leader.step, leader.density

    def _leader(self) -> TrainingStep | None:
        """What this follows: the one that it was copied from, else the only one of its kind that is trained."""
        if self.original is not None and (original := self.original()) is not None:
            return original if original.trained else original._leader()
        found = [each for each in _trained if each.kind == self.kind and each is not self]
        return found[0] if len(found) == 1 else None


def looked_at(module: nn.Module) -> Tensor | None:
    """A weight of module's own by which it is seen that its generator has changed; None where it has none."""
    return next((p for name, p in module.named_parameters() if "sparse_plugin." not in name), None)

"""Which step of training a generator stands for, where its regularizer changes over training.

The optimizer that trains a generator tells it. A checkpoint carries it, in a buffer beside the settings. A copy whose weights follow
another's, as an EMA's do, stands for the step up to which it has followed: hosts copy buffers with the weights, or average
them, or leave them alone, and then it is seen in the weights themselves.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.attachment.penalty import say_once
from sparse_plugin.registry.auto import Auto
from sparse_plugin.registry.base import Regularizer

# Forward passes in which the non-zeros of Γ are counted to measure its natural density.
COUNTED = 64
# Entries of a weight, which are looked at for whether it has changed.
_LOOKED_AT = 256

# Those whose generators an optimizer of this process trains, so that averages that were built on their own find them.
_trained: weakref.WeakSet[TrainingStep] = weakref.WeakSet()
# Numbers all steps of all optimizers, so that a generator whose training is over leads none that was built later.
_ticks = itertools.count(1)


class TrainingStep:
    """The step that the regularizer of one site stands at, and the natural density of its Γ, where that was measured.

    kind: what an original and an average that was built on its own have in common: their class, site and settings.
    """

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self.step = 0.0
        self.density: float | None = None
        self.trained = False  # by an optimizer of this process
        self._tick = 0  # of the latest step
        self._since = 0  # the tick from which on another may be what this follows
        self._original: weakref.ref[TrainingStep] | None = None
        self._buffer = (0.0, 0.0, 0.0)  # what this has last put there, or read from there
        self._own: weakref.ref[Tensor] | None = None  # that buffer
        self._of: weakref.ref[Tensor] | None = None  # the weight that is looked at
        self._weight: Tensor | None = None
        self._made: dict[int, tuple[Any, ...]] = {}  # of each regularizer at the site
        self._counted: list[Tensor] = []  # shares of non-zeros of Γ, as long as its natural density is being measured

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingStep:
        twin = TrainingStep(self.kind)
        twin.step, twin.density, twin._buffer, twin._counted = self.step, self.density, self._buffer, list(self._counted)
        twin._original, twin._made = weakref.ref(self), dict(self._made)
        weight = None if self._of is None else self._of()
        twin._weight = None if weight is None else _part(weight)
        copied = memo.get(id(weight))  # torch copies a module's own weights before its children
        twin._of = weakref.ref(copied) if isinstance(copied, Tensor) else None
        memo[id(self)] = twin
        return twin

    def __getstate__(self) -> dict[str, Any]:
        kept = TrainingStep(self.kind)
        return {**vars(kept), "step": self.step, "density": self.density, "_buffer": self._buffer, "_counted": list(self._counted)}

    def acting(self, regularizer: Regularizer) -> Regularizer:
        """What regularizer is at this step."""
        found = self._made.get(id(regularizer), ())
        if not found or found[0] is not regularizer or found[1:3] != (self.step, self.density):
            found = self._make(regularizer)
        made: Regularizer = found[3]
        return made

    def _make(self, regularizer: Regularizer) -> tuple[Any, ...]:
        made = self._made[id(regularizer)] = (regularizer, self.step, self.density, regularizer.at_step(self.step, self.density))
        return made

    def _moved(self) -> None:
        """Have at hand what acts at another step: Dynamo, which may follow the next forward, cannot make it."""
        for regularizer, *_ in list(self._made.values()):
            self._make(regularizer)

    def owns(self, buffer: Tensor) -> None:
        """This is the buffer of it from now on."""
        self._own = weakref.ref(buffer)

    def beside(self, regularizer: Regularizer, buffer: Tensor) -> Regularizer | None:
        """What regularizer is by a buffer that stands in for its own as long as a call lasts, as `functional_call` has it; None where
        it is its own.
        """
        own = None if self._own is None else self._own()
        if own is None or own is buffer:
            return None
        step, density, weight = (float(value) for value in buffer.tolist())
        return regularizer.at_step(step, density / weight if weight > 0 else None)

    def advance(self, buffer: Tensor) -> None:
        """The optimizer that trains the generator took a step. Nothing waits for the device."""
        if not self.trained:
            self.trained = True
            _trained.add(self)
        self.step += 1
        self._tick = next(_ticks)
        self._write(buffer)

    def count(self, gamma: Tensor, auto: Auto, counted: Tensor) -> None:
        """Count the non-zeros of a Γ that training sees, of every so many steps once. counted: the buffer of it."""
        every, number = _every(auto), len(self._counted)
        due = self.step % every == 0 or self.step >= auto.measure  # one that nothing had passed yet is late
        if due and number <= self.step // every and gamma.numel():
            self._counted.append((gamma.detach() != 0).float().mean())
            if number < len(counted):
                with torch.no_grad():
                    counted[number].copy_(self._counted[-1])

    def recall(self, counted: Tensor) -> None:
        """Go on counting where a checkpoint was."""
        if not counted.is_meta:
            known = 0 if self.density is not None else sum(value >= 0 for value in counted.tolist())
            self._counted = list(counted[:known].clone().unbind())

    def measured(self, buffer: Tensor, counted: Tensor) -> float | None:
        """Take the mean of what was counted, of all processes that counted, as the natural density of Γ, from now on; None as long as
        nothing was, in any. Waits for the device.
        """
        counts = torch.stack([torch.stack(self._counted).mean(), torch.ones_like(self._counted[0])]) if self._counted else torch.zeros(2)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            counts = counts.to(buffer.device)
            torch.distributed.all_reduce(counts)
        if not counts[1]:
            return None
        self._counted.clear()
        counted.fill_(-1)
        self.density = float(counts[0] / counts[1])  # of single precision, as the buffer
        self._write(buffer)
        return self.density

    def over(self, regularizer: Regularizer) -> bool:
        """Whether nothing of regularizer changes any more."""
        return self.step >= regularizer.settled and (self.density is not None or regularizer.automatic is None)

    def begin_as(self, other: TrainingStep, buffer: Tensor) -> None:
        """Stand where other does."""
        self.step, self.density = other.step, other.density
        self._write(buffer)

    def _write(self, buffer: Tensor) -> None:
        self._moved()
        known = self.density is not None
        was, self._buffer = self._buffer, (self.step, self.density or 0.0, float(known))
        if not buffer.is_meta:
            with torch.no_grad():
                for place, (before, now) in enumerate(zip(was, self._buffer, strict=True)):
                    if before != now:
                        buffer[place].fill_(now)

    def read(self, buffer: Tensor) -> None:
        """Take what a checkpoint, or a host that copies or averages buffers, has put into the buffer.

        The density stands there times a weight, beside it, so that an average over steps at which it was not known is right.
        """
        if buffer.is_meta:
            return
        step, density, weight = (float(value) for value in buffer.tolist())
        if (step, density, weight) != self._buffer:
            self._buffer = (step, density, weight)
            self.step, self.density = step, density / weight if weight > 0 else None
            self._moved()

    def look_at(self, weight: Tensor | None) -> None:
        """Tell by this weight from now on whether the generator has changed."""
        self._of = None if weight is None else weakref.ref(weight)
        self._weight = None if weight is None else _part(weight)
        self._since = next(_ticks)

    def follow(self, buffer: Tensor, weight: Tensor | None = None) -> None:
        """Of a generator that no optimizer here trains: stand for what its buffer, or a change of its weights, tells.

        weight: the one to look at, None for the one that was.
        """
        if weight is None:
            weight = None if self._of is None else self._of()
        elif self._of is None or self._of() is not weight:
            self._of = weakref.ref(weight)
        before = self._buffer
        self.read(buffer)
        was, self._weight = self._weight, None if weight is None else _part(weight)
        if self._buffer != before or was is None or self._weight is None or torch.equal(self._weight, was.to(self._weight)):
            return
        leader = self._leader()
        if leader is not None:
            self.begin_as(leader, buffer)

    def _leader(self) -> TrainingStep | None:
        """What this follows: the one that it was copied from, else the one of its kind that was trained since this is there; of
        several, as two directions of a CycleGAN have, the one whose weights are by far the nearest.
        """
        original = None if self._original is None else self._original()
        if original is not None:
            return original if original.trained else original._leader()
        found = [each for each in _trained if each.kind == self.kind and each is not self and each._tick > self._since > 0]
        if len(found) < 2:
            return found[0] if found else None
        nearest, next_one, *_ = sorted(((self._distance(each), place) for place, each in enumerate(found)))
        if nearest[0] < next_one[0] / 2:
            self._original = weakref.ref(found[nearest[1]])
            return found[nearest[1]]
        say_once(
            f"an average of a {self.kind.partition(':')[0]} changes that was built on its own, and of {len(found)} that are trained it "
            f"cannot be told which one it follows: it projects as at step {self.step:g}; make it by copy.deepcopy of that one, or average "
            "its buffers too"
        )
        return None

    def _distance(self, other: TrainingStep) -> float:
        """How far the weights that are looked at are from those of other."""
        weight = None if other._of is None else other._of()
        theirs = None if weight is None else _part(weight)
        if theirs is None or self._weight is None or theirs.shape != self._weight.shape:
            return math.inf
        return float((theirs.to(self._weight) - self._weight).norm())


def most_counted(regularizers: Iterable[Regularizer]) -> int:
    """How often Γ is counted at most for `auto` of any of these, 0 where there is none."""
    autos = (auto for each in regularizers if (auto := each.automatic) is not None)
    return max((auto.measure // _every(auto) + 1 for auto in autos), default=0)


def _every(auto: Auto) -> int:
    """Steps from one count to the next."""
    return max(1, auto.measure // COUNTED)


def _part(weight: Tensor) -> Tensor | None:
    """A copy of the first entries of a weight; None where it has no values."""
    return None if weight.is_meta else weight.detach().reshape(-1)[:_LOOKED_AT].clone()

"""Steps of training that no optimizer of torch tells of: fastai's, one that somebody wrote, one that trains copies of the weights.

They are seen in the weights at the sites: a backward pass came to Γ, and then these changed.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

_of: weakref.WeakKeyDictionary[nn.Module, Untold] = weakref.WeakKeyDictionary()  # by what is saved with the generator


class Untold:
    """Looks for the steps of one generator. weights: those at its sites, of now, by name; step: called after each step, with the names of
    those that it changed.
    """

    def __init__(self, weights: Callable[[], Mapping[str, Tensor]], step: Callable[[set[str]], None]) -> None:
        self._weights, self._step = weights, step
        self._before: dict[str, Tensor] | None = None  # as they were when Γ last passed after a step
        self._reached = False  # whether a backward pass has come to Γ since
        self._lock = threading.Lock()  # replicas of DataParallel run in threads

    def passed(self, gamma: Tensor) -> None:
        """Γ passes a site. Nothing waits for the device where no backward pass has come to it since the last step."""
        if torch._C._functorch.peek_interpreter_stack() is not None or (gamma.is_cuda and torch.cuda.is_current_stream_capturing()):
            return
        if not gamma.requires_grad:
            self._look_alone()
            return
        self._look()
        with self._lock:
            if not self._before:
                self._before = _copied(self._weights())
        gamma.register_hook(self._mark)  # type: ignore[no-untyped-call]

    def saves_with(self, child: nn.Module) -> None:
        """child is what of the generator is saved: see the latest step before."""
        _of[child] = self

    def _mark(self, grad: Tensor) -> None:
        self._reached = True

    def _look(self) -> None:
        with self._lock:
            if not self._reached or self._before is None:
                return
            now, before = self._weights(), self._before
            moved = {name for name, weight in now.items() if name in before and not torch.equal(weight, before[name])}
            if not moved:
                if not now.keys() <= before.keys():  # some were frozen, as in the step of another player
                    self._before = _copied(now)
                return
            self._reached, self._before = False, None
        self._step(moved)

    def _look_alone(self) -> None:
        """The same where other processes of the training may not come: at a step they may have to exchange something."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            self._look()


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in weights.items()}


def before_saving(child: nn.Module) -> None:
    """child is about to be saved or copied: a step that nothing has passed since is in the weights, so it counts."""
    if (untold := _of.get(child)) is not None:
        untold._look_alone()

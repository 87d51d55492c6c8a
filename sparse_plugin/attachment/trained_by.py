"""Which optimizers train a generator, and whose steps are those of its training."""

from __future__ import annotations

import sys
import weakref
from types import FrameType

from torch import nn
from torch.optim.optimizer import Optimizer

from sparse_plugin.network.sites import CHILD
from sparse_plugin.network.wrappers import plain

_STEP = Optimizer.profile_hook_step(lambda: None).__code__  # of what torch puts around the step of each


class Watched:
    """A generator, and which optimizers train it, by the number of their parameters when that was looked up.

    Where several train parts of it, the steps that count are those of whoever trains the module at the site.
    """

    def __init__(self, generator: nn.Module, path: str) -> None:
        self.generator, self.path = weakref.ref(generator), path
        # Inserted parameters that no optimizer seen so far trains.
        self.untrained = {plain(name) for name, _ in generator.named_parameters() if f".{CHILD}." in f".{name}"}
        # Whether each trains it, and the module at the site.
        self.trained_by: weakref.WeakKeyDictionary[Optimizer, tuple[int, bool, bool]] = weakref.WeakKeyDictionary()
        self._seen_here = False  # an optimizer that trains the module at the site
        self._first: weakref.ref[Optimizer] | None = None  # whose steps count as long as none was

    def trained_by_it(self, optimizer: Optimizer) -> tuple[bool, bool]:
        """Whether optimizer trains the generator, and the module at the site."""
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        known, trains, here = self.trained_by.get(optimizer, (-1, False, False))
        if known != count:
            trains, here = _trains(optimizer, self)
            self.trained_by[optimizer] = (count, trains, here)
        return trains, here

    def counts(self, optimizer: Optimizer, here: bool) -> bool:
        """Whether a step of this optimizer, which trains the generator, is one of its training."""
        if here:
            first, self._seen_here = not self._seen_here, True
            return not first or self._first is None  # its round was counted already
        if not self._seen_here and (self._first is None or self._first() is None):
            self._first = weakref.ref(optimizer)
        return not self._seen_here and self._first is not None and self._first() is optimizer


def around(optimizer: Optimizer) -> list[Optimizer]:
    """Those within whose step this one has taken its own, as SAM, Lookahead and ZeroRedundancyOptimizer have it done."""
    found: list[Optimizer] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _STEP and (other := frame.f_locals.get("self")) is not optimizer and isinstance(other, Optimizer):
            found.append(other)
        frame = frame.f_back
    return found


def _trains(optimizer: Optimizer, watched: Watched) -> tuple[bool, bool]:
    """Whether optimizer trains the generator, and the module at the site, noting what was inserted and is trained by it."""
    generator = watched.generator()
    if generator is None:
        return False, False
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trains, below = False, f"{plain(watched.path)}." if watched.path else ""
    own: nn.Parameter | None = None  # one of the module's: of its parameters, each may have an optimizer
    for name, p in generator.named_parameters():
        if plain(name).startswith(below) and f".{CHILD}." not in f".{name}" and (own is None or p.requires_grad > own.requires_grad):
            own = p
        if id(p) in trained or not p.requires_grad:
            trains |= id(p) in trained
            # FullyShardedDataParallel makes one parameter of many, and names them from where it stands.
            held = tuple(getattr(p, "_fqns", ()))
            watched.untrained = {u for u in watched.untrained if u != plain(name) and not (held and u.endswith(held))}
    return trains, trains if own is None else id(own) in trained  # it has none, or they are one with others

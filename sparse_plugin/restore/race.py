"""`k: auto` in a restoration: a few k are raced, and the error at held-out pixels says which go on.

All restorations have the same network, noise and held-out pixels. After a fifth of the iterations the better two of the four go
on, after half of them the best one, up to the end or where its rule stops it, and it is fitted to all pixels: at most twice the
iterations of one restoration.

The natural density of Γ, of which `k: auto` takes a share elsewhere, says nothing here: behind the encoder's LeakyReLU it is 1.

Which k go on follows from their curves alone, and those from the seed: a race that goes on from its candidates' checkpoints
comes to the same bits as one that was not interrupted.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.restore.held_out import refits
from sparse_plugin.restore.iterating import Interrupted, Loop
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import Choice, Raced, RestorationResult
from sparse_plugin.restore.stopping import HELD_OUT
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.rundir import RunDirectory

# The k that are raced, of one that is dense to one that is as sparse as ours for needles.
LEVELS = (1.0, 0.5, 0.25, 0.1)
# Up to which share of the iterations they go, and how many go on from there.
RUNGS = ((1 / 5, 2), (1 / 2, 1), (1.0, 1))
# With fewer iterations the first rung would be of a handful, where every output is grey.
LEAST = 40
# The folder of the candidates' checkpoints in a run's directory, which a race that is over leaves no more.
FOLDER = "candidates"


def asked(sparse: SparsityConfig | None) -> bool:
    """Whether k is to be chosen. Raises ConfigError for an `auto` of which a part would have no effect."""
    if sparse is None or sparse.build().automatic is None:
        return False
    autos = [regularizer for regularizer, of in _sections(sparse).items() if "auto" in str(of.get("k"))]
    if len(autos) != 1 or _sections(sparse)[autos[0]]["k"] != "auto":
        raise ConfigError(
            f"{sparse.build()}: a restoration races one k of one regularizer for all scales, so that shares, steps, lists and a second "
            "auto have no meaning; write k: auto once and nothing beside it"
        )
    return True


def _sections(sparse: SparsityConfig) -> dict[str, Mapping[str, Any]]:
    """The settings of each regularizer, by its name."""
    if isinstance(sparse.regularizer, list):
        return {name: sparse.settings.get(name) or {} for name in sparse.regularizer}
    return {str(sparse.regularizer): sparse.settings}


def _automatic(sparse: SparsityConfig) -> str:
    """The name of the regularizer whose k is to be chosen."""
    return next(name for name, of in _sections(sparse).items() if of.get("k") == "auto")


def _with(sparse: SparsityConfig, k: float) -> SparsityConfig:
    """The config with a k in place of auto."""
    if not isinstance(sparse.regularizer, list):
        return sparse.with_settings(k=k)
    name = _automatic(sparse)
    return sparse.with_settings(**{name: {**_sections(sparse)[name], "k": k}})


def check(iterations: int) -> None:
    """Raise ConfigError where so few iterations tell nothing."""
    if iterations < LEAST:
        raise ConfigError(f"k is auto and {iterations} iterations are too few to tell one k from another; give {LEAST} or more, or a k")


def bound(iterations: int) -> int:
    """How many iterations a race takes at most, for so many of one restoration."""
    total, racing, before = 0, len(LEVELS), 0
    for share, left in RUNGS:
        until = int(share * iterations)
        total += racing * (until - before)
        racing, before = left, until
    return total + refits(iterations)


@dataclass(eq=False)
class Candidate:
    """One k that is raced. folder: of its checkpoints, None where none are kept. count: of the representations it acts on."""

    k: float
    restoration: Restoration
    folder: Path | None
    count: int
    diverged: bool = False

    def resume(self) -> None:
        """Go on from the latest checkpoint, where there is one."""
        if self.folder is not None:
            step = (checkpoints.steps(self.folder) or [0])[-1]
            if step:
                self.restoration.load(self.folder, step)
            checkpoints.clean(self.folder)

    def lowest(self, until: int) -> float:
        """The lowest error at the held-out pixels up to an iteration, infinite for one that diverged."""
        return math.inf if self.diverged else min(self.restoration.curves.variance[:until])

    def raced(self) -> Raced:
        """What it came to."""
        values = self.restoration.curves.variance
        if self.diverged or not values:
            return Raced(self.k, len(values), None, None)
        return Raced(self.k, len(values), values.index(min(values)) + 1, min(values))


def candidates(
    sparse: SparsityConfig | None, begin: Callable[[SparsityConfig], Restoration], directory: RunDirectory | None
) -> list[Candidate]:
    """Those of LEVELS, each before its first iteration; without those that would keep less than one of few channels."""
    assert sparse is not None
    place = None if directory is None else directory.path / FOLDER
    own = _sections(sparse)[_automatic(sparse)].get("sites")
    found: list[Candidate] = []
    for k in LEVELS:
        try:
            restoration = begin(_with(sparse, k))
        except ConfigError:
            if not found:  # of all of Γ nothing is too little: something else is wrong
                raise
            continue
        assert restoration.attachment is not None
        acted_on = 1 if isinstance(own, str) else len(own or restoration.attachment.sites)
        found.append(Candidate(k, restoration, None if place is None else place / f"k={k:g}", acted_on))
    return found


def run(racing: list[Candidate], loop: Loop) -> Restoration:
    """Race them. Returns the restoration that is the best, its `chosen` set and its checkpoint written.

    Raises Interrupted, with the best so far, and DivergedError where every one that was still to go on diverged.
    """
    left = racing
    for share, keep in RUNGS:
        until = int(share * loop.budget)
        for candidate in left:
            _advance(candidate, until, left, racing, loop)
        # Of equal ones the one with the larger k, which changes less.
        left = sorted((each for each in left if not each.diverged), key=lambda each: each.lowest(until))[:keep]
    best = left[0]
    try:
        loop.refit(best.restoration)
    except Interrupted:
        raise Interrupted(_best_so_far(racing)) from None
    best.restoration.chosen = _choice(best, racing)
    loop.report.chosen(best.restoration.chosen)
    if loop.directory is not None:
        loop.save(best.restoration, loop.directory.checkpoints, finished=True)
    return best.restoration


def _advance(candidate: Candidate, until: int, left: list[Candidate], racing: list[Candidate], loop: Loop) -> None:
    """Bring one of those that are left, of all that race, up to an iteration. Raises as `run` does."""
    restoration = candidate.restoration
    others = sum(each.restoration.iteration for each in racing if each is not candidate)
    if restoration.iteration >= until or restoration.stopping.over:
        return
    loop.report.turn_to(restoration, others, candidate.k)
    try:
        reached = loop.advance(restoration, until, candidate.folder)
    except DivergedError:
        candidate.diverged = True
        if all(each.diverged for each in left):
            raise
        return
    except KeyboardInterrupt:  # in the middle of an iteration, from which nothing can go on
        raise Interrupted(_best_so_far(racing)) from None
    if restoration.iteration:
        loop.save(restoration, candidate.folder, finished=False)
    if not reached:
        raise Interrupted(_best_so_far(racing))


def _best_so_far(racing: list[Candidate]) -> RestorationResult | None:
    begun = [each for each in racing if each.restoration.curves.variance and not each.diverged]
    if not begun:
        return None
    best = min(begun, key=lambda each: each.lowest(each.restoration.iteration))
    best.restoration.chosen = _choice(best, racing)
    return best.restoration.result()


def _choice(best: Candidate, racing: list[Candidate]) -> Choice:
    restoration = best.restoration
    plain = restoration.choice()
    assert plain is not None
    return Choice(
        HELD_OUT,
        plain.value,
        plain.iteration,
        plain.pixels,
        (best.k,) * best.count,
        tuple(each.raced() for each in racing),
        sum(len(each.restoration.curves.loss) for each in racing) + plain.refit,
        plain.refit,
    )


def forget(directory: RunDirectory) -> None:
    """Delete the candidates' checkpoints of a race that is over."""
    shutil.rmtree(directory.path / FOLDER, ignore_errors=True)

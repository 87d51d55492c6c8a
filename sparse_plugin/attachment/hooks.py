"""The hooks that stand at a site. They are importable objects without tensors: picklable, and safe to deep-copy.

What a running process knows of a hook (its log, the latest Γ) is kept beside it, in `runtime(hook)`, and neither copied
nor pickled with it.
"""

from __future__ import annotations

import copy
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import events
from sparse_plugin.attachment.identities import AddGradient, AddTerm, Held, Hold, Passage
from sparse_plugin.attachment.penalty import Counter, follow_loss_scaling, say_once, value
from sparse_plugin.errors import PenaltyError, SiteError
from sparse_plugin.measurements.gamma import Reduction, reduce
from sparse_plugin.measurements.log import Recorder
from sparse_plugin.network.sites import CHILD, Site
from sparse_plugin.registry.base import Constraint, Observer, Penalty, Regularizer
from sparse_plugin.support import advice, capture
from sparse_plugin.support.compiled import constant

log = logging.getLogger("sparse_plugin")


class Vigil(Protocol):
    """What watches over the forwards of a generator."""

    def passed(self) -> None:
        """The running forward of this thread went through a site."""


class Runtime:
    """What this process knows of one hook."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self.slack = False  # whether it was said that the constraint cannot bind
        self.compiled = False  # whether Γ was compiled into a graph, by torch.compile
        self.effective = False  # whether Γ was regularized, or its penalty has reached a loss
        self.penalizable = False  # whether Γ has passed with gradients, or the generator was trained
        self.steps = 0  # of the generator's optimizer
        self.counter = Counter()
        self.follows_scaling = False
        self.loss_is_known = False  # whether a host patch takes the penalty wherever the generator's loss is computed
        self.taken = 0  # how often the penalty was taken since the last step of the generator's optimizer
        self.held = Held()
        self.ran = 0  # forwards with gradients since the penalty was taken, or the generator's optimizer stepped


# Threads in which a generator is being looked at: nothing is counted, judged, or added to a loss.
muted: set[int] = set()


def held(regularizer: Regularizer, gamma: Tensor) -> Tensor:
    """Γ as a convolution that may be D1 takes it in a look: whoever watches convolutions never sees one that breaks the
    constraint. As it is where the constraint needs more than one level of Γ.
    """
    one = not any(isinstance(getattr(regularizer, name), list) for name in regularizer.listed)
    if isinstance(regularizer, Constraint) and one and regularizer.dictionaries(1, 2) is None:
        return regularizer.project(gamma)
    return gamma


def held_input(regularizer: Regularizer, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """`held`, of a module's first argument; None, for as it is, where that is no representation."""
    if args and isinstance(args[0], Tensor) and args[0].dim() >= 4 and args[0].is_floating_point():
        return (held(regularizer, args[0]), *args[1:])
    return None


_runtimes: weakref.WeakKeyDictionary[SiteHook, Runtime] = weakref.WeakKeyDictionary()


def runtime(hook: SiteHook) -> Runtime:
    """The runtime of hook in this process."""
    found = _runtimes.get(hook)
    if found is None:
        found = _runtimes.setdefault(hook, Runtime())
    return found


@constant
def _traced(path: str) -> int:
    """Γ at path is being compiled into a graph, where Python runs no more. Called while that happens."""
    for hook in list(_runtimes):
        if hook.site.path == path:
            now = runtime(hook)
            now.compiled = True
            if isinstance(hook.regularizer, Penalty):
                hook.is_due()
            hook.took_effect()
    return 0


class SiteHook(capture.Unscriptable):
    """Regularizes the representation at one site. Its `module` argument is the one at work: a replica, or a copy.

    owner is the path, below the module, of the child that holds the inserted dictionaries' parent.
    """

    def __init__(self, regularizer: Regularizer, site: Site, owner: str, delivery: str, accumulation: int) -> None:
        self.regularizer = regularizer
        self.site = site
        self.owner = owner
        self.delivery = delivery
        self.accumulation = accumulation
        self.is_copy = False
        self.compiled = False  # whether the penalty's gradient is part of a compiled graph
        self.vigil: Vigil | None = None  # what is told that a forward went through this site

    def __deepcopy__(self, memo: dict[int, Any]) -> SiteHook:
        # A copied generator (EMA) keeps its constraint and never feeds the penalty.
        twin = copy.copy(self)
        twin.is_copy = True
        memo[id(self)] = twin
        twin.vigil = copy.deepcopy(self.vigil, memo)
        return twin

    def regularize(self, module: nn.Module, gamma: Any) -> Tensor:
        """Γ as D1 shall consume it. Raises SiteError where there is no tensor to regularize."""
        if not isinstance(gamma, Tensor):
            if isinstance(gamma, torch.fx.Proxy):
                raise SiteError(capture.no_proxy(module, self.site))
            raise SiteError(
                f"the {self.site} is a {type(gamma).__name__}, not a tensor; name another site, one whose first "
                "positional argument is the representation"
            )
        if gamma.dim() < 4:
            raise SiteError(
                f"the {self.site} is a tensor of {gamma.dim()} axes, {tuple(gamma.shape)}; a representation is (N, C, H, W): "
                "give the generator a batch, or name another site"
            )
        gamma = capture.plain(gamma)
        if not torch.compiler.is_dynamo_compiling():
            if muted and threading.get_ident() in muted:
                return held(self.regularizer, gamma)
            if self.vigil is not None:
                self.vigil.passed()
        if isinstance(self.regularizer, Constraint):
            return self._constrain(module, gamma)
        return gamma if self.is_copy else self._penalize(module, gamma)

    def _constrain(self, module: nn.Module, gamma: Tensor) -> Tensor:
        constraint = self.regularizer
        assert isinstance(constraint, Constraint)
        dictionaries = self._dictionaries(module)
        if capture.recording():
            if torch.compiler.is_dynamo_compiling() and not capture.exporting():
                _traced(self.site.path)
            return constraint.represent(gamma, dictionaries)
        now = runtime(self)
        sparse = constraint.represent(gamma, dictionaries, self._observer(now))
        if not now.effective:
            self.took_effect()
            if gamma.dim() > 1:
                self.say_slack(gamma.shape[1], gamma.shape[1:].numel())
        return sparse

    def say_slack(self, channels: int, size: int | None) -> None:
        """Say, once, where the constraint cannot change a Γ of this size; not of a copy, whose original said it."""
        assert isinstance(self.regularizer, Constraint)
        now = runtime(self)
        why = "" if now.slack or self.is_copy else self.regularizer.slack(channels, size)
        if why:
            now.slack = True
            log.warning(
                "%s at the %s projects nothing away: %s; give a smaller k, or the fraction 1.0 where that is meant",
                self.regularizer,
                self.site,
                why,
            )

    def _dictionaries(self, module: nn.Module) -> nn.Module | None:
        child = (module.get_submodule(self.owner) if self.owner else module)._modules.get(CHILD)
        return None if child is None else child._modules.get("dictionaries")

    def look(self, module: nn.Module, gamma: Tensor) -> list[Reduction]:
        """Measure Γ, every level of it, and pass nothing on."""
        found: list[Reduction] = []
        if isinstance(self.regularizer, Constraint):
            self.regularizer.represent(
                gamma,
                self._dictionaries(module),
                lambda level, *seen: found.append(reduce(self.site.path, self._level(level), *seen)),
            )
        else:
            found.append(self._weigh(gamma))
        return found

    def _weigh(self, gamma: Tensor) -> Reduction:
        assert isinstance(self.regularizer, Penalty)
        reduction = reduce(self.site.path, self.site.level, gamma, gamma)
        reduction.penalty = value(self.regularizer, gamma.detach())
        return reduction

    def _observer(self, now: Runtime) -> Observer | None:
        recorder = now.recorder
        if recorder is None or not recorder.due(now.steps) or not torch.is_grad_enabled():
            return None
        return lambda level, *seen: recorder.take(reduce(self.site.path, self._level(level), *seen))

    def _level(self, level: int) -> int:
        """Which Γ of the generator is the one of this level at this site."""
        return self.site.level + level - 1

    def _penalize(self, module: nn.Module, gamma: Tensor) -> Tensor:
        penalty = self.regularizer
        assert isinstance(penalty, Penalty)
        if not (torch.is_grad_enabled() and capture.requires_grad(gamma)) or capture.exporting():
            return gamma
        if torch.compiler.is_compiling():
            if self.delivery == "loss":
                raise PenaltyError(
                    f"{advice.setting('delivery', 'loss')} cannot follow Γ through torch.compile; use "
                    f"{advice.setting('delivery', 'gradient')}"
                )
            self.compiled = True
            _traced(self.site.path)
            out: Tensor = AddTerm.apply(gamma, value(penalty, gamma), 1 / self.accumulation)
            return out
        if self.delivery == "gradient" and getattr(module, "_is_replica", False):
            raise PenaltyError(
                "each replica of DataParallel would add the whole penalty; "
                + (
                    f"attach with {advice.setting('delivery', 'loss')} and add attachment.penalty() to the generator's loss, or "
                    if advice.reader() == "attach"
                    else ""
                )
                + "use one device or DistributedDataParallel"
            )
        now = runtime(self)
        self.is_due()
        if self.delivery == "loss":
            now.ran += 1
            passed: Tensor = Hold.apply(gamma, now.held)
        else:
            if not now.follows_scaling:  # here, not at attach: the hook may have been pickled into this process
                now.follows_scaling = True
                follow_loss_scaling(self)
            passed = AddGradient.apply(gamma, penalty, 1 / self.accumulation, now.counter, Passage(), now.held)
        recorder = now.recorder
        if recorder is not None and recorder.due(now.steps):
            recorder.take(self._weigh(gamma))
        return passed

    def is_due(self) -> None:
        """Tell the listeners, once, that the generator is being trained, so that a penalty has to reach its loss."""
        now = runtime(self)
        if not now.penalizable:
            now.penalizable = True
            events.penalizable.announce(self)

    def took_effect(self) -> None:
        """Tell the listeners, once, that Γ is regularized."""
        now = runtime(self)
        if not now.effective:
            now.effective = True
            events.effective.announce(self)

    def penalty(self, loss: Tensor | None = None) -> Tensor:
        """The penalty to be added to the generator's loss, of every Γ that it was computed from, or, without it, of the latest;
        a mean over forwards and replicas by their share of the samples.

        Raises PenaltyError where no Γ with a graph is alive.
        """
        assert isinstance(self.regularizer, Penalty)
        now = runtime(self)
        alive = now.held.latest() if loss is None else now.held.below(loss)
        if loss is None and now.ran > 1 and len(now.held.all()) > len(alive):
            say_once(
                f"the generator ran {now.ran} times since its last step, and penalty() is that of the latest forward; "
                "attachment.penalty(loss) takes the mean over all that the loss was computed from"
            )
        if not alive:
            raise PenaltyError(
                f"there is no representation to penalize at the {self.site}: the generator has not run with gradients "
                "since its last step, its images were detached, or it ran inside a reentrant checkpoint (use_reentrant=False follows it); "
                "run it before taking the penalty"
            )
        gammas = [node.saved_tensors[0] for node in alive]
        total = sum(len(gamma) for gamma in gammas)
        terms = [value(self.regularizer, gamma).to(gammas[0].device) * (len(gamma) / total) for gamma in gammas]
        now.taken += 1
        now.ran = 0
        self.took_effect()
        return torch.stack(terms).sum() if len(terms) > 1 else terms[0]


class InputHook(SiteHook):
    """A forward pre-hook: Γ is positional argument 0, the rest (a style, say) passes as it is."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.regularize(module, args[0] if args else None), *args[1:])


class OutputHook(SiteHook):
    """A forward hook: Γ is what the module returns."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor:
        return self.regularize(module, output)


_DICTS = (
    ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    ("_forward_hooks", "_forward_hooks_with_kwargs"),
)


def find(generator: nn.Module, kind: type[Any] | tuple[type[Any], ...]) -> Iterator[tuple[str, nn.Module, Any]]:
    """Every hook of this type in generator, with the path of its module and the module."""
    for path, module in generator.named_modules():
        for hooks, _ in _DICTS:
            for hook in list(getattr(module, hooks).values()):
                if isinstance(hook, kind):
                    yield path, module, hook


def remove(module: nn.Module, kind: type[Any] | tuple[type[Any], ...]) -> None:
    """Take every hook of this type off this one module (handles do not survive a copy; types do)."""
    for hooks, extra in _DICTS:
        for key in [key for key, hook in getattr(module, hooks).items() if isinstance(hook, kind)]:
            getattr(module, hooks).pop(key, None)  # replicas share the dict, and their threads may be here too
            for name in (extra, "_forward_hooks_always_called"):
                getattr(module, name, {}).pop(key, None)

"""A hook that stands at a site: `constraint_hook` and `penalty_hook` have the two kinds of them.

They are importable objects without tensors: picklable, and safe to deep-copy.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import events
from sparse_plugin.attachment.child import SparseChild
from sparse_plugin.attachment.looks import constrained, muted
from sparse_plugin.attachment.site_state import SiteState, Stage
from sparse_plugin.config import Role
from sparse_plugin.errors import SiteError
from sparse_plugin.measurements.gamma import GammaStatistics
from sparse_plugin.network.probe import probing
from sparse_plugin.network.sites import CHILD, Site
from sparse_plugin.registry.base import Regularizer
from sparse_plugin.support import advice, capture
from sparse_plugin.support.compiled import constant, passed_over


class Passed(Protocol):
    """What watches over the forwards of a generator, root."""

    root: weakref.ref[nn.Module] | None
    met: bool  # whether Γ has passed a site at all

    def passed(self, gamma: Tensor) -> None:
        """The running forward of this thread went through a site, at which Γ was this."""

    def network(self) -> nn.Module | None:
        """The one at work, where it is known."""


_states: weakref.WeakKeyDictionary[SiteHook, SiteState] = weakref.WeakKeyDictionary()


@constant
def note_compiled(path: str) -> int:
    """Γ at path is being compiled into a graph, where Python runs no more. Called while that happens."""
    for hook in list(_states):
        if hook.site.path == path:
            hook.state.compiled = True
            hook.took_effect()
    return 0


class SiteHook(capture.Unscriptable):
    """Regularizes the representation at one site: as a forward pre-hook Γ is positional argument 0, and the rest (a style, say)
    passes as it is; as a forward hook Γ is what the module returns.

    owner is the path, below the module, of the child that holds the inserted dictionaries' parent.
    """

    new_state: type[SiteState] = SiteState

    def __init__(self, regularizer: Regularizer, site: Site, owner: str) -> None:
        self.regularizer = regularizer
        self.changes = bool(regularizer.scheduled)  # over training; torch.compile cannot look into regularizers
        self.outside = False  # whether torch.compile cannot follow it for another reason
        self.site = site
        self.owner = owner
        self.aside = False  # whether it stands at sites of its own, beside which Γ has others
        self.is_copy = False
        self.role: Role = "generator"  # of the network that it stands in
        self.vigil: Passed | None = None  # what is told that a forward went through this site

    def __deepcopy__(self, memo: dict[int, Any]) -> SiteHook:
        # A copied generator (EMA) keeps its constraint and never feeds the penalty.
        twin = copy.copy(self)
        twin.is_copy = True
        memo[id(self)] = twin
        twin.vigil = copy.deepcopy(self.vigil, memo)
        return twin

    def __call__(self, module: nn.Module, args: tuple[Any, ...], *output: Any) -> Any:
        """module is the one at work: a replica, or a copy."""
        if output:
            return self.regularize(module, output[0])
        if not args:
            raise SiteError(
                f"the {self.site} is given by keyword alone, and a hook has positional arguments: give Γ to this module as the first of "
                f"them, or name {advice.returned()}"
            )
        return (self.regularize(module, args[0]), *args[1:])

    @property
    def state(self) -> SiteState:
        """What this process knows of this hook."""
        found = _states.get(self)
        return _states.setdefault(self, self.new_state()) if found is None else found

    def regularize(self, module: nn.Module, gamma: Any) -> Tensor:
        """Γ as D1 shall consume it. Raises SiteError where there is no tensor to regularize."""
        if not isinstance(gamma, Tensor):
            if isinstance(gamma, torch.fx.Proxy):
                raise SiteError(capture.no_proxy(module, self.site))
            raise SiteError(
                f"the {self.site} is a {type(gamma).__name__}, not a tensor; name another site, one whose first "
                "positional argument is the representation"
            )
        if gamma.dim() == 2 and self.role == "discriminator":
            return self.regularize(module, as_needles(gamma)).flatten(1)
        if gamma.dim() < 4:
            raise SiteError(
                f"the {self.site} is a tensor of {gamma.dim()} axes, {tuple(gamma.shape)}; a representation is (N, C, H, W): "
                f"give the {self.role} a batch, or name another site"
            )
        gamma = capture.plain(gamma)
        if torch.compiler.is_dynamo_compiling() and (self.changes or self.outside) and not capture.exporting():
            return _outside_of_the_graph(self, module, gamma)
        if not torch.compiler.is_dynamo_compiling():
            if muted and threading.get_ident() in muted:
                return constrained(self.regularizer, gamma)
            if self.vigil is not None and not self.aside:
                self.vigil.passed(gamma)
            if (untold := self.state.untold) is not None and not capture.recording() and not probing():
                untold.passed(gamma)
        return self.act(module, gamma)

    def child(self, module: nn.Module) -> SparseChild | None:
        """What holds the settings, the dictionaries and the step of training, of the generator at work."""
        found = (module.get_submodule(self.owner) if self.owner else module)._modules.get(CHILD)
        return found if isinstance(found, SparseChild) else None

    def acting(self, module: nn.Module) -> Regularizer:
        """The regularizer at the step of training that the generator at work stands for."""
        if not self.changes:
            return self.regularizer
        child = self.child(module)
        return self.regularizer if child is None else child.acting(self.regularizer, module)

    def settings_of(self, acting: Regularizer) -> dict[str, Any]:
        """The fields that change over training, as they are now."""
        now = {name: getattr(acting, name) for name in self.regularizer.scheduled}
        return {name: float(value) if isinstance(value, float) else value for name, value in now.items()}  # whatever float it is inside

    def act(self, module: nn.Module, gamma: Tensor) -> Tensor:
        """Γ of a forward of the host's, regularized."""
        raise NotImplementedError

    def look(self, module: nn.Module, gamma: Tensor, seen: list[GammaStatistics]) -> Tensor:
        """Measure Γ, every level of it. Returns what the next hook at the site sees."""
        raise NotImplementedError

    def took_effect(self) -> None:
        """Tell the listeners, once, that Γ is regularized."""
        state = self.state
        if state.stage is not Stage.EFFECTIVE:
            state.stage = Stage.EFFECTIVE
            events.effective.announce(self)


def as_needles(gamma: Tensor) -> Tensor:
    """Features without positions, (N, C), as a representation of one needle a sample; any other as it is."""
    return gamma[:, :, None, None] if gamma.dim() == 2 else gamma


def compiled(generator: nn.Module) -> bool:
    """Whether a site is in a compiled graph, which tells nobody that it ran."""
    return any(hook.state.compiled for _, _, hook in find(generator, SiteHook))


@passed_over
def _outside_of_the_graph(hook: SiteHook, module: nn.Module, gamma: Tensor) -> Tensor:
    """What changes over training is no constant of a compiled graph, and some atoms are not in it: it breaks here instead."""
    out: Tensor = torch.compiler.disable(hook.regularize)(module, gamma)  # type: ignore[no-untyped-call]
    return out


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

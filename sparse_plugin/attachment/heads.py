"""The modules of a generator that could make its image: those at which Γ is regularized, and those that are watched."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from torch import nn

from sparse_plugin.attachment import events, hooks, lineage, standing
from sparse_plugin.attachment.child import begin_where
from sparse_plugin.attachment.consumed import Consumed
from sparse_plugin.attachment.looks import constrained_input, muted
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.errors import SiteError
from sparse_plugin.network.sites import Site, climb, convolution, filters, kernel_owners, out_channels
from sparse_plugin.support import advice, capture


class Watching(hooks.Passed, Protocol):
    """What is told of a generator's forwards, and of the heads in them."""

    def meet(self, head: Head, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """A head runs. Returns what it shall consume, or None for its own input."""


class Head(capture.Unscriptable):
    """A forward pre-hook on a module that could make the image. kinds: the calls of which it is known that it does not.

    idle: whether the image is computed from it, and so far the same without it.
    """

    def __init__(self, heads: Heads) -> None:
        self.heads, self.idle = heads, False
        self.kinds: set[Hashable] = set()

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        if capture.recording():
            if self.kinds:
                return None
            raise SiteError(
                f"a {type(module).__name__} that could make the image runs for the first time, inside torch.compile, jit.trace "
                "or torch.export, where D1 cannot be told; run the generator once in this way before"
            )
        if threading.get_ident() in muted:
            given = args
            for hook in self.heads.known:
                args = constrained_input(hook.regularizer, args) or args
            return None if args is given else args
        return self.heads.watcher.meet(self, module, args)


class Heads:
    """Those of one generator. known: the hooks of a site, after which those of further sites are made.

    channels: of the images; none where sites were named, so that other modules that make images are the user's choice.
    """

    def __init__(self, plan: Plan, channels: set[int], known: Sequence[hooks.SiteHook], watcher: Watching) -> None:
        self.plan, self.channels, self.known, self.watcher = plan, channels, known, watcher
        self.stale = False  # whether modules were added since the heads were looked up
        self.due: list[str] = []  # the paths that are to be sites when the next call begins
        self.any = False  # whether any module beside the sites could make the image

    def refresh(self, generator: nn.Module) -> None:
        """Do what was left for the next call: nothing of a generator changes while it runs and may be computed once more."""
        if self.stale:
            self.place(generator)
        while self.due:
            self.stand_at(generator, self.due.pop())

    def place(self, generator: nn.Module) -> None:
        """A hook on every module that could make the image and is no site."""
        self.stale = False
        found = {module: hook for _, module, hook in hooks.find(generator, Head)}
        for module in found:
            hooks.remove(module, (Head, lineage.Made))
        self.any = False
        if not self.channels:
            return
        # Under whatever path, behind a wrapper say; what lies in a site is a part of its dictionary.
        held = {inner for _, module, _ in hooks.find(generator, hooks.SiteHook) for inner in module.modules()}
        for path in self._paths(generator):
            module = generator.get_submodule(path)
            if module not in held:
                self._watch(module, found.get(module))
        for _, module in kernel_owners(generator):
            if filters(module) and module not in held:
                hooks.remove(module, lineage.Made)
                module.register_forward_hook(lineage.Made(None))

    def grew(self, child: nn.Module) -> None:
        """child was put into the generator."""
        self.stale = True
        for _, module in kernel_owners(child):
            # Here too, and not only at the next call of the generator, which its host may never call as a whole.
            if self._could_make(module) and not any(True for _ in hooks.find(module, (Head, hooks.SiteHook))):
                self._watch(module)

    def _watch(self, module: nn.Module, head: Head | None = None) -> None:
        """See when this module, which could make the image, is called, and what comes of it."""
        self.any = True
        module.register_forward_pre_hook(head or Head(self))
        module.register_forward_hook(lineage.Made(False))

    def stand_at(self, generator: nn.Module, path: str) -> tuple[hooks.SiteHook, ...]:
        """Regularize the input of the module at path too, as at the other sites."""
        first = self.known[0]
        ready = standing.prepare(generator, Site(path), [hook.regularizer for hook in self.known], self.plan)
        for hook in ready.hooks:
            hook.is_copy, hook.vigil = first.is_copy, self.watcher
        standing.stand(generator, ready, first.state.recorder)
        if (known := first.state.child) is not None:
            begin_where(known, ready.child)
        Consumed.place(generator, ready.hooks, True)
        self.mark(generator, ready.hooks[0].site)
        hooks.remove(generator.get_submodule(path), Head)
        events.placed.announce(generator)
        return ready.hooks

    def mark(self, generator: nn.Module, site: Site) -> None:
        """Have what comes out of D1 known in the graph of the image."""
        for path in {site.path, convolution(generator, site)}:
            module = generator.get_submodule(path)
            hooks.remove(module, lineage.Made)
            module.register_forward_hook(lineage.Made(True))

    def fixed(self, generator: nn.Module) -> str:
        """Why no site can be added to generator now; "" where one can."""
        if standing.inserts(self.plan.regularizer):
            return "inserts parameters, which must exist before the optimizer is made"
        if getattr(generator, "_is_replica", False):
            return "cannot follow it inside a replica of DataParallel"
        return ""

    def paths(self, generator: nn.Module) -> list[str]:
        """Of the sites."""
        return list(dict.fromkeys(hook.site.path for _, _, hook in hooks.find(generator, hooks.SiteHook)))

    def where(self, generator: nn.Module) -> str:
        """The sites, for people."""
        return "; ".join(f"the {hook.site}" for _, _, hook in hooks.find(generator, hooks.SiteHook)) or "any site"

    def name_all(self, generator: nn.Module) -> str:
        """What to do where D1 cannot be followed."""
        return f"Attach with every module that makes an image named: {advice.sites(*sorted(self._paths(generator)))}"

    def _paths(self, generator: nn.Module) -> set[str]:
        """Of the modules whose convolution has the channels of an image."""
        owners = kernel_owners(generator)
        return {climb(generator, path) for path, module in owners if self._could_make(module)}

    def _could_make(self, module: nn.Module) -> bool:
        return out_channels(module) in self.channels and not filters(module)

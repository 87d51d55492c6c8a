"""Every forward that makes an image goes through a site, for as long as a regularizer is attached.

Hooks of the generator itself see each call begin and end. Every other module that could make the image has one that acts on
its first call of a kind: there the running forward is traced, and where this module makes the image now, as when a
generator grows or its head was replaced, Γ is regularized at it from this very call on. Where that cannot be done the run
stops: nothing is silently off.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable
from typing import Any

import torch
from torch import nn

from sparse_plugin.attachment import events, frames, growth, hooks, lineage, standing
from sparse_plugin.attachment.calls import GeneratorCall
from sparse_plugin.attachment.consumed import Consumed
from sparse_plugin.attachment.looks import constrained_input, looking, muted
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.attachment.verify import FirstPass, KnownBy, watch
from sparse_plugin.errors import SiteError
from sparse_plugin.network import detection, probe
from sparse_plugin.network.sites import Site, climb, convolution, images_of, kernel_owners, out_channels
from sparse_plugin.support import advice, capture

# A generator whose own integers change at every call, a counter, say, is not traced for ever where the graph of its image
# tells at the end of each call what made it.
TRACES = 32


class Vigil:
    """What watches over one generator; shared by all of its hooks, picklable, and copied with it."""

    def __init__(self, plan: Plan, first: FirstPass, channels: set[int], known: hooks.SiteHook) -> None:
        self.plan, self.first = plan, first
        self.channels = channels  # of the images
        self.known = known  # the hook of a site, after which those of further heads are made
        self.traces = 0
        self.stale = False  # whether modules were added since the heads were looked up
        self.due: list[str] = []  # the paths that are to be sites when the next call begins
        self.graphs = False  # whether the latest image had a graph, which tells what made it
        self.heads = False  # whether any module beside the sites could make the image
        self.idle: set[Hashable] = set()  # the kinds of calls in which what cannot be followed leaves nothing in the image
        self.running: dict[int, GeneratorCall] = {}  # by thread
        self.direct: dict[int, str] = {}  # by thread: the path of the part of which a direct call is followed to its end
        self.root: weakref.ref[nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "running": {}, "direct": {}, "root": None}

    def begin(self, generator: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The generator is called."""
        if not getattr(generator, "_is_replica", False) and (self.root is None or self.root() is not generator):
            self.root = weakref.ref(generator)  # a copy, or one that came out of another process
            growth.watch(generator, self)
        if self.stale:
            self.place_heads(generator)
        while self.due:
            self.stand_at(generator, self.due.pop())
        me = threading.get_ident()
        outer = self.running.get(me)
        now = self.running[me] = GeneratorCall(generator, args, kwargs, self.heads)
        if outer is not None and frames.calls(generator) > 1:  # it calls itself; else the call before has failed
            now.outer = outer
        if not self.first.done:
            self.first.begin()

    def passed(self) -> None:
        """The running forward of this thread went through a site."""
        now = self.running.get(threading.get_ident())
        if now is not None:
            now.passed = True

    def end(self, output: Any) -> None:
        """The generator returned. Raises SiteError where it made an image, or a part of one, past every site."""
        me = threading.get_ident()
        now = self.running.pop(me, None)
        if now is not None and now.outer is not None:
            self.running[me] = now.outer
        first = not self.first.done
        if first:
            self.first.compiled = now is not None and not now.passed and self._compiled(now.generator)
            self.first.end(output)
        images = images_of(output)
        if now is None or not images:
            return
        if not now.passed and not first and not self._compiled(now.generator):
            raise SiteError(
                f"{type(now.generator).__name__} made an image without going through {self._where(now.generator)}: another "
                f"module makes it now, and nothing was regularized. {_name_all(now.generator, self.channels)}"
            )
        self.graphs = images[0].grad_fn is not None
        if self.channels and not capture.recording() and any(lineage.unknown(image, now.since) for image in images):
            self._account(now)

    def meet(self, head: Head, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Another module that could make the image is called: where it does, Γ is regularized here from now on."""
        now = self.running.get(threading.get_ident())
        if not self.first.done:  # judged as a whole
            head.kinds.add(None)
            return None
        if now is None:
            if head.kinds:  # known already; or computed again in a backward pass
                self._follow_direct(module)
                return None
            raise SiteError(
                f"a {type(module).__name__} that could make the image runs for the first time, and which module makes it cannot "
                "be told, since the forward of the generator is called directly or compiled. Call the generator itself once in "
                f"this way, uncompiled, or name the sites with {advice.sites()}"
            )
        if now.kind(head.idle) in head.kinds or (self.traces >= TRACES and self.graphs and torch.is_grad_enabled()):
            return None
        ran, new = self._look(now)
        here = next((path for path in new if now.generator.get_submodule(path) is module), None)
        if here is None or not new[here]:
            self.traces += 1
            self._note(now, ran, new)
            return None
        together = [path for path, matters in new.items() if matters]
        if len(together) > 1:
            raise SiteError(
                f"{len(together)} further modules of {type(now.generator).__name__} make the image together: "
                f"{', '.join(together)}. {_name_all(now.generator, self.channels)}"
            )
        return self._follow(now, here)(module, args)

    def _follow_direct(self, module: nn.Module) -> None:
        """Check the image of a forward that is called directly, and in which this module runs, when it returns."""
        me, generator = threading.get_ident(), None if self.root is None else self.root()
        if generator is None or me in self.direct or not torch.is_grad_enabled():
            return
        since: int = torch._C._autograd._get_sequence_nr()
        path = next((path for path, inner in generator.named_modules() if inner is module), None)

        def returned(output: Any) -> None:
            if self.direct.pop(me) == "" and any(lineage.unknown(image, since) for image in images_of(output)):
                raise SiteError(
                    f"a convolution of {type(generator).__name__} makes the image beside {self._where(generator)}, and its forward "
                    f"is called directly, so that it cannot be followed. {_name_all(generator, self.channels)}"
                )

        part = None if path is None else frames.when_returned(module, path, returned, methods=False)
        if part is not None:
            self.direct[me] = part

    def _look(self, now: GeneratorCall) -> tuple[set[nn.Module], dict[str, bool]]:
        """Trace the call once more. Returns what ran, and of the paths that make the image and are no sites whether it would be
        another one without each.
        """
        with looking(), probe.random_states(now.random):
            found = detection.trace(now.generator, *now.args, **now.kwargs)
        sites = {hook.site.path for _, _, hook in hooks.find(now.generator, hooks.SiteHook)}
        makers = {climb(now.generator, c.path): c in found.makers for c in (*found.makers, *found.idle)}
        ran = {now.generator.get_submodule(path) for c in found.candidates for path in (c.path, climb(now.generator, c.path))}
        return ran, {path: matters for path, matters in makers.items() if path not in sites}

    def _note(self, now: GeneratorCall, ran: set[nn.Module], new: dict[str, bool]) -> None:
        """Remember of the heads that ran in a look at this call, and do not make its image, that they do not."""
        for path, module, head in hooks.find(now.generator, Head):
            if module in ran and not new.get(path):  # else the look took another way than the call that is running
                head.idle = path in new
                head.kinds.add(now.kind(head.idle))

    def _account(self, now: GeneratorCall) -> None:
        """The graph of the image leads to a convolution beside the sites. Where nothing of it is in the image yet, as of a
        head that is faded in from 0, it is regularized from the next call on.
        """
        if self._compiled(now.generator) or (self.idle and now.kind(True) in self.idle):
            return
        _, new = self._look(now)
        if not new or any(new.values()):
            which = ", ".join(path for path, matters in new.items() if matters) or "a convolution"
            raise SiteError(
                f"{which} of {type(now.generator).__name__} makes the image too, beside {self._where(now.generator)}, and what it "
                f"consumed was not regularized. {_name_all(now.generator, self.channels)}"
            )
        if self._fixed(now.generator):
            self.idle.add(now.kind(True))
            return
        self.due.extend(path for path in new if path not in self.due)  # a checkpoint computes this call once more as it was

    def _follow(self, now: GeneratorCall, path: str) -> Any:
        """The hook that stands at path from now on."""
        generator, why = now.generator, self._fixed(now.generator)
        if why:
            raise SiteError(
                f"{path} of {type(generator).__name__} makes the image now, and {self.plan.regularizer} {why}. "
                f"{_name_all(generator, self.channels)}"
            )
        return self.stand_at(generator, path)

    def _fixed(self, generator: nn.Module) -> str:
        """Why no site can be added to generator now; "" where one can."""
        if standing.inserts(self.plan.regularizer):
            return "inserts parameters, which must exist before the optimizer is made"
        if getattr(generator, "_is_replica", False):
            return "cannot follow it inside a replica of DataParallel"
        return ""

    def stand_at(self, generator: nn.Module, path: str) -> hooks.SiteHook:
        """Regularize the input of the module at path too, as at the other sites."""
        ready = standing.prepare(generator, Site(path), self.known.regularizer, self.plan)
        ready.hook.is_copy, ready.hook.vigil = self.known.is_copy, self
        hook = standing.stand(generator, ready, self.known.state.recorder)
        Consumed.place(generator, hook)
        self._mark(generator, hook.site)
        hooks.remove(generator.get_submodule(path), Head)
        events.placed.announce(generator)
        return hook

    def _mark(self, generator: nn.Module, site: Site) -> None:
        """Have what comes out of D1 known in the graph of the image."""
        for path in {site.path, convolution(generator, site)}:
            module = generator.get_submodule(path)
            hooks.remove(module, lineage.Made)
            module.register_forward_hook(lineage.Made(True))

    def place_heads(self, generator: nn.Module) -> None:
        """A hook on every module that could make the image and is no site."""
        self.stale = False
        found = {module: hook for _, module, hook in hooks.find(generator, Head)}
        for module in found:
            hooks.remove(module, (Head, lineage.Made))
        self.heads = False
        if not self.channels:
            return
        sites = {hook.site.path for _, _, hook in hooks.find(generator, hooks.SiteHook)}
        for path in {
            climb(generator, path) for path, m in kernel_owners(generator) if out_channels(m) in self.channels
        }:
            module = generator.get_submodule(path)
            if path not in sites:
                self.watch_head(module, found.get(module))

    def grew(self, child: nn.Module) -> None:
        """child was put into the generator."""
        self.stale = True
        for _, module in kernel_owners(child):
            # Here too, and not only at the next call of the generator, which its host may never call as a whole.
            if out_channels(module) in self.channels and not any(True for _ in hooks.find(module, (Head, hooks.SiteHook))):
                self.watch_head(module)

    def watch_head(self, module: nn.Module, head: Head | None = None) -> None:
        """See when this module, which could make the image, is called, and what comes of it."""
        self.heads = True
        module.register_forward_pre_hook(head or Head(self))
        module.register_forward_hook(lineage.Made(False))

    def _compiled(self, generator: nn.Module) -> bool:
        """Whether a site is in a compiled graph, which tells nobody that it ran."""
        return any(hook.state.compiled for _, _, hook in hooks.find(generator, hooks.SiteHook))

    def _where(self, generator: nn.Module) -> str:
        return "; ".join(f"the {hook.site}" for _, _, hook in hooks.find(generator, hooks.SiteHook)) or "any site"


class Head(capture.Unscriptable):
    """A forward pre-hook on a module that could make the image. kinds: the calls of which it is known that it does not.

    idle: whether the image is computed from it, and so far the same without it.
    """

    def __init__(self, vigil: Vigil) -> None:
        self.vigil, self.idle = vigil, False
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
            return constrained_input(self.vigil.known.regularizer, args)
        return self.vigil.meet(self, module, args)


class Begins(capture.Unscriptable):
    """A forward pre-hook on the generator."""

    def __init__(self, vigil: Vigil) -> None:
        self.vigil = vigil

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_dynamo_compiling():
            self.vigil.first.begin_traced()
        elif threading.get_ident() not in muted:
            self.vigil.begin(module, args, kwargs)


class Ends(capture.Unscriptable):
    """A forward hook on the generator."""

    def __init__(self, vigil: Vigil) -> None:
        self.vigil = vigil

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            self.vigil.first.end_traced(output)
        elif threading.get_ident() not in muted:
            self.vigil.end(output)


HOOKS = (Begins, Ends, Head, lineage.Made)


def adopt(generator: nn.Module, path: str) -> None:
    """Regularize what the convolution at path consumes too, as a checkpoint of a generator that had grown says."""
    vigil = next((hook.vigil for _, _, hook in hooks.find(generator, Begins)), None)
    if vigil is not None and vigil.known.site.side == "input":
        vigil.stand_at(generator, climb(generator, path))
        vigil.place_heads(generator)


def keep(generator: nn.Module, standing_hooks: list[hooks.SiteHook], plan: Plan, known_by: KnownBy) -> Vigil:
    """Watch over generator, at whose sites these hooks stand, from now on; its first forward is checked too.

    Where sites were named, by hand or by an adapter, other modules that make images are its choice.
    """
    made = {out_channels(generator.get_submodule(convolution(generator, hook.site))) for hook in standing_hooks}
    named = known_by in ("hand", "adapter")
    channels = set() if named else {channels for channels in made if channels is not None}
    vigil = Vigil(plan, watch(generator, standing_hooks, known_by), channels, standing_hooks[0])
    for hook in standing_hooks:
        hook.vigil = vigil
        if channels:
            vigil._mark(generator, hook.site)
    vigil.place_heads(generator)
    generator.register_forward_pre_hook(Begins(vigil), with_kwargs=True)
    generator.register_forward_hook(Ends(vigil))
    vigil.root = weakref.ref(generator)
    growth.watch(generator, vigil)
    return vigil


def _name_all(generator: nn.Module, channels: set[int]) -> str:
    """What to do where D1 cannot be followed."""
    heads = sorted({climb(generator, path) for path, m in kernel_owners(generator) if out_channels(m) in channels})
    return f"Attach with every module that makes an image named: {advice.sites(*heads)}"

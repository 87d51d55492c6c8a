"""Every forward that makes an image goes through a site, for as long as a regularizer is attached.

Hooks of the generator itself see each call begin and end. Every other module that could make the image has one that acts on
its first call of a kind: there the running forward is traced, and where this module makes the image now, as when a
generator grows or its head was replaced, Γ is regularized at it from this very call on. Where that cannot be done the run
stops: nothing is silently off.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from sparse_plugin import advice, capture, detection, hooks, standing
from sparse_plugin.consumed import Consumed
from sparse_plugin.errors import ForwardError, SiteError
from sparse_plugin.first import FirstPass, KnownBy, watch
from sparse_plugin.plan import Plan
from sparse_plugin.sites import CHILD, Site, climb, convolution, image_of, kernel_owners, out_channels

# A generator whose own integers change at every call, a counter, say, is not traced for ever.
TRACES = 32


@dataclass
class Pass:
    """A running forward of the generator, in one thread."""

    generator: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    passed: bool = False  # whether Γ went through a site

    def kind(self) -> Hashable:
        """What decides which head makes the image: the integers it was called with, and those that it holds itself."""
        held = (*self.args, *self.kwargs.values(), *vars(self.generator).values())
        return tuple(value for value in held if isinstance(value, int))


class Vigil:
    """What watches over one generator; shared by all of its hooks, picklable, and copied with it."""

    def __init__(self, plan: Plan, first: FirstPass, channels: set[int], known: hooks.SiteHook) -> None:
        self.plan, self.first = plan, first
        self.channels = channels  # of the images
        self.known = known  # the hook of a site, after which those of further heads are made
        self.traces = 0
        self.stale = False  # whether modules were added since the heads were looked up
        self.running: dict[int, Pass] = {}  # by thread
        self.root: weakref.ref[nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "running": {}, "root": None}

    def begin(self, generator: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The generator is called."""
        if not getattr(generator, "_is_replica", False) and (self.root is None or self.root() is not generator):
            self.root = weakref.ref(generator)  # a copy, or one that came out of another process
            _watch_growth(generator, self)
        if self.stale:
            self.place_heads(generator)
        self.running[threading.get_ident()] = Pass(generator, args, kwargs)
        if not self.first.done:
            self.first.begin()

    def passed(self) -> None:
        """The running forward of this thread went through a site."""
        now = self.running.get(threading.get_ident())
        if now is not None:
            now.passed = True

    def end(self, output: Any) -> None:
        """The generator returned. Raises SiteError where it made an image past every site."""
        now = self.running.pop(threading.get_ident(), None)
        if not self.first.done:
            self.first.compiled = now is not None and not now.passed and self._compiled(now.generator)
            self.first.end(output)
        elif now is not None and not now.passed and image_of(output) is not None and not self._compiled(now.generator):
            raise SiteError(
                f"{type(now.generator).__name__} made an image without going through {self._where(now.generator)}: another "
                f"module makes it now, and nothing was regularized. {_name_all(now.generator, self.channels)}"
            )

    def meet(self, head: Head, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Another module that could make the image is called: where it does, Γ is regularized here from now on."""
        now = self.running.get(threading.get_ident())
        kind = None if now is None else now.kind()
        if not self.first.done:  # judged as a whole
            head.kinds.add(kind)
            return None
        if now is None:
            if head.kinds:  # known already; or computed again in a backward pass
                return None
            raise SiteError(
                f"a {type(module).__name__} that could make the image runs for the first time, and which module makes it cannot "
                "be told, since the forward of the generator is called directly or compiled. Call the generator itself once in "
                f"this way, uncompiled, or name the sites with {advice.sites()}"
            )
        if kind in head.kinds or self.traces >= TRACES:
            return None
        self.traces += 1
        with looking():
            found = detection.trace(now.generator, *now.args, **now.kwargs)
        head.kinds.add(kind)
        standing_at = {hook.site.path for _, _, hook in hooks.find(now.generator, hooks.SiteHook)}
        new = [path for c in found.makers if (path := climb(now.generator, c.path)) not in standing_at]
        if not any(now.generator.get_submodule(path) is module for path in new):
            return None
        if len(new) > 1:
            raise SiteError(
                f"{len(new)} further modules of {type(now.generator).__name__} make the image together: {', '.join(new)}. "
                f"{_name_all(now.generator, self.channels)}"
            )
        return self._follow(now, new[0])(module, args)

    def _follow(self, now: Pass, path: str) -> Any:
        """The hook that stands at path from now on."""
        generator, why = now.generator, None
        if standing.inserts(self.plan.regularizer):
            why = "inserts parameters, which must exist before the optimizer is made"
        elif getattr(generator, "_is_replica", False):
            why = "cannot follow it inside a replica of DataParallel"
        if why is not None:
            raise SiteError(
                f"{path} of {type(generator).__name__} makes the image now, and {self.plan.regularizer} {why}. "
                f"{_name_all(generator, self.channels)}"
            )
        return self.stand_at(generator, path)

    def stand_at(self, generator: nn.Module, path: str) -> hooks.SiteHook:
        """Regularize the input of the module at path too, as at the other sites."""
        ready = standing.prepare(generator, Site(path), self.known.regularizer, self.plan)
        ready.hook.is_copy, ready.hook.vigil = self.known.is_copy, self
        hook = standing.stand(generator, ready, hooks.runtime(self.known).recorder)
        Consumed.place(generator, hook)
        for tell in standing.placed:
            tell(generator)
        return hook

    def place_heads(self, generator: nn.Module) -> None:
        """A hook on every module that could make the image and is no site."""
        self.stale = False
        found = {module: hook.kinds for _, module, hook in hooks.find(generator, Head)}
        for module in found:
            hooks.remove(module, Head)
        if not self.channels:
            return
        sites = {hook.site.path for _, _, hook in hooks.find(generator, hooks.SiteHook)}
        for path in {
            climb(generator, path) for path, m in kernel_owners(generator) if out_channels(m) in self.channels
        }:
            module = generator.get_submodule(path)
            if path not in sites:
                module.register_forward_pre_hook(Head(self, found.get(module)))

    def _compiled(self, generator: nn.Module) -> bool:
        """Whether a site is in a compiled graph, which tells nobody that it ran."""
        return any(hooks.runtime(hook).compiled for _, _, hook in hooks.find(generator, hooks.SiteHook))

    def _where(self, generator: nn.Module) -> str:
        return "; ".join(f"the {hook.site}" for _, _, hook in hooks.find(generator, hooks.SiteHook)) or "any site"


class Head(capture.Unscriptable):
    """A forward pre-hook on a module that could make the image. kinds: the calls of which it is known that it does not."""

    def __init__(self, vigil: Vigil, kinds: set[Hashable] | None = None) -> None:
        self.vigil, self.kinds = vigil, set() if kinds is None else kinds

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        if capture.recording():
            if self.kinds:
                return None
            raise SiteError(
                f"a {type(module).__name__} that could make the image runs for the first time, inside torch.compile, jit.trace "
                "or torch.export, where D1 cannot be told; run the generator once in this way before"
            )
        if threading.get_ident() in hooks.muted:
            return hooks.held_input(self.vigil.known.regularizer, args)
        return self.vigil.meet(self, module, args)


class Begins(capture.Unscriptable):
    """A forward pre-hook on the generator."""

    def __init__(self, vigil: Vigil) -> None:
        self.vigil = vigil

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_dynamo_compiling():
            self.vigil.first.begin_traced()
        elif threading.get_ident() not in hooks.muted:
            self.vigil.begin(module, args, kwargs)


class Ends(capture.Unscriptable):
    """A forward hook on the generator."""

    def __init__(self, vigil: Vigil) -> None:
        self.vigil = vigil

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            self.vigil.first.end_traced(output)
        elif threading.get_ident() not in hooks.muted:
            self.vigil.end(output)


HOOKS = (Begins, Ends, Head)


def adopt(generator: nn.Module, path: str) -> None:
    """Regularize what the convolution at path consumes too, as a checkpoint of a generator that had grown says."""
    vigil = next((hook.vigil for _, _, hook in hooks.find(generator, Begins)), None)
    if vigil is not None and vigil.known.site.side == "input":
        vigil.stand_at(generator, climb(generator, path))
        vigil.place_heads(generator)


def keep(generator: nn.Module, standing_hooks: list[hooks.SiteHook], plan: Plan, known_by: KnownBy) -> Vigil:
    """Watch over generator, at whose sites these hooks stand, from now on; its first forward is checked too.

    Where sites were named by hand, other modules that make images are the user's choice.
    """
    made = {out_channels(generator.get_submodule(convolution(generator, hook.site))) for hook in standing_hooks}
    channels = set() if known_by == "hand" else {channels for channels in made if channels is not None}
    vigil = Vigil(plan, watch(generator, standing_hooks, known_by), channels, standing_hooks[0])
    for hook in standing_hooks:
        hook.vigil = vigil
    vigil.place_heads(generator)
    generator.register_forward_pre_hook(Begins(vigil), with_kwargs=True)
    generator.register_forward_hook(Ends(vigil))
    vigil.root = weakref.ref(generator)
    _watch_growth(generator, vigil)
    return vigil


@contextmanager
def looking() -> Iterator[None]:
    """In this thread nothing is counted or judged, while a call of the host's is looked at beforehand.

    Where that fails the call would have failed too: the host gets its own error, which it may know how to handle.
    """
    me = threading.get_ident()
    before = me in hooks.muted
    hooks.muted.add(me)
    try:
        yield
    except ForwardError as error:
        raise (error.__cause__ or error) from None
    finally:
        if not before:
            hooks.muted.discard(me)


def _name_all(generator: nn.Module, channels: set[int]) -> str:
    """What to do where D1 cannot be followed."""
    heads = sorted({climb(generator, path) for path, m in kernel_owners(generator) if out_channels(m) in channels})
    return f"Attach with every module that makes an image named: {advice.sites(*heads)}"


# The modules of watched generators, each with what watches; told apart from all other modules that are being built.
_watched: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Vigil]] = weakref.WeakKeyDictionary()
_handle: Any = None


def _watch_growth(generator: nn.Module, vigil: Vigil) -> None:
    """See modules that are added to generator from now on."""
    global _handle
    for module in generator.modules():
        _watched[module] = weakref.ref(vigil)
    if _handle is None:
        _handle = register_module_module_registration_hook(_registered)


def _registered(parent: nn.Module, name: str, child: nn.Module | None) -> None:
    """A module was put into another, which may be a part of a watched generator."""
    ref = _watched.get(parent)
    vigil = None if ref is None else ref()
    if vigil is None or child is None or name == CHILD:
        return
    vigil.stale = True
    for module in child.modules():
        _watched[module] = weakref.ref(vigil)
    for _, module in kernel_owners(child):
        # Here too, and not only at the next call of the generator, which its host may never call as a whole.
        if out_channels(module) in vigil.channels and not any(True for _ in hooks.find(module, (Head, hooks.SiteHook))):
            module.register_forward_pre_hook(Head(vigil))

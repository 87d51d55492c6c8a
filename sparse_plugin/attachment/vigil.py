"""Every forward that makes an image goes through a site, for as long as a regularizer is attached.

Hooks of the generator itself see each call begin and end. Every other module that could make the image has one that acts on
its first call of a kind: there the running forward is traced, and where this module makes the image now, as when a
generator grows or its head was replaced, Γ is regularized at it from this very call on. Where that cannot be done the run
stops: nothing is silently off.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from sparse_plugin.attachment import frames, growth, hooks, lineage, optimizer_steps
from sparse_plugin.attachment.calls import GeneratorCall
from sparse_plugin.attachment.direct_calls import DirectCalls
from sparse_plugin.attachment.heads import Head, Heads
from sparse_plugin.attachment.judging import Judge
from sparse_plugin.attachment.looks import muted
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.attachment.verify import FirstPass, KnownBy, watch
from sparse_plugin.errors import SiteError
from sparse_plugin.network import readers
from sparse_plugin.network.images import images_of
from sparse_plugin.network.sites import climb, convolution, out_channels
from sparse_plugin.support import advice, capture


class Vigil:
    """What watches over one generator; shared by all of its hooks, picklable, and copied with it."""

    def __init__(self, plan: Plan, first: FirstPass, channels: set[int], known: Sequence[hooks.SiteHook]) -> None:
        self.plan, self.first = plan, first
        self.heads = Heads(plan, channels, known, self)
        self.judge = Judge(self.heads)
        self.direct = DirectCalls()
        self.running: dict[int, GeneratorCall] = {}  # by thread
        self.met = False  # whether Γ has passed a site at all
        self.root: weakref.ref[nn.Module] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "running": {}, "root": None}

    def follow_growth(self, generator: nn.Module) -> None:
        """See what is put into generator, which is the one at work, and who trains it: a copy, say, or one that came out of another
        process.
        """
        self.root = weakref.ref(generator)
        growth.watch(generator, self.heads)
        optimizer_steps.follow_as_found(generator)

    def begin(self, generator: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The generator is called."""
        if not getattr(generator, "_is_replica", False) and (self.root is None or self.root() is not generator):
            self.follow_growth(generator)
        heads = self.heads
        if heads.stale or heads.due:
            heads.refresh(generator)
        me = threading.get_ident()
        outer = self.running.get(me)
        now = self.running[me] = GeneratorCall(generator, args, kwargs, heads.any)
        if outer is not None and frames.calls(generator) > 1:  # it calls itself; else the call before has failed
            now.outer = outer
        if not self.first.done:
            self.first.begin()

    def network(self) -> nn.Module | None:
        """The one at work, where it is known."""
        return None if self.root is None else self.root()

    def passed(self, gamma: Tensor) -> None:
        """The running forward of this thread went through a site, at which Γ was this."""
        self.met = True
        now = self.running.get(threading.get_ident())
        if now is not None:
            now.passed = True
            if (made_by := readers.source(gamma)) is not None:
                now.gammas.append(made_by)

    def end(self, output: Any) -> None:
        """The generator returned. Raises SiteError where it made an image, or a part of one, past every site."""
        me = threading.get_ident()
        now = self.running.pop(me, None)
        if now is not None and now.outer is not None:
            self.running[me] = now.outer
        first = not self.first.done
        if first:
            self.first.compiled = now is not None and not now.passed and hooks.compiled(now.generator)
            self.first.end(output)
        heads = self.heads
        if self.plan.role == "discriminator":
            if now is not None and not now.passed and not first and not hooks.compiled(now.generator):
                raise SiteError(
                    f"{type(now.generator).__name__} returned without going through {heads.where(now.generator)}, so that nothing was "
                    f"regularized. Name what every call of it goes through, as in {advice.sites()}"
                )
            return
        images = readers.apart(images_of(output))
        if now is None or not images:
            return
        if not now.passed and not first and not hooks.compiled(now.generator):
            raise SiteError(
                f"{type(now.generator).__name__} made an image without going through {heads.where(now.generator)}: another "
                f"module makes it now, and nothing was regularized. {heads.name_all(now.generator)}"
            )
        self.judge.graphs = images[0].grad_fn is not None
        if not heads.channels or capture.recording():
            return
        if any(lineage.unknown(image, now.since) for image in images):
            self.judge.account(now)
        if any(lineage.reads(image, gamma) for image in images for gamma in now.gammas):
            where, named = heads.where(now.generator), advice.sites(*heads.paths(now.generator))
            raise SiteError(
                f"{type(now.generator).__name__} computes its image from {where} by another way too, past that module, and what goes "
                f"there is not regularized. Where that is meant, say it by {named}"
            )

    def meet(self, head: Head, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Another module that could make the image is called: where it does, Γ is regularized here from now on."""
        now = self.running.get(threading.get_ident())
        if not self.first.done:  # judged as a whole
            head.kinds.add(None)
            return None
        if now is not None:
            return self.judge.meet(now, head, module, args)
        if head.kinds:  # known already; or computed again in a backward pass
            generator = None if self.root is None else self.root()
            if generator is not None:
                self.direct.follow(generator, module, self.heads)
            return None
        if self._makes_a_code(module, args):
            return None
        raise SiteError(
            f"a {type(module).__name__} that could make the image runs for the first time, and which module makes it cannot "
            "be told, since the forward of the generator is called directly or compiled. Call the generator itself once in "
            f"this way, uncompiled, or name the sites with {advice.sites()}"
        )

    def _makes_a_code(self, module: nn.Module, args: tuple[Any, ...]) -> bool:
        """Whether module, called past the generator, makes fewer pixels than the method that calls it was given, as in an encoder."""
        generator, made = None if self.root is None else self.root(), _pixels_made(module, args)
        if generator is None or made is None or (out_channels(module) or 99) > 4:
            return False
        path = next((path for path, inner in generator.named_modules() if inner is module), None)
        return path is not None and frames.is_code(made, frames.given(module, path))


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


def _pixels_made(module: nn.Module, args: tuple[Any, ...]) -> int | None:
    """How many pixels a convolution makes of its input, as its stride says; None where that is not known."""
    if not isinstance(module, _ConvNd) or not args or not isinstance(args[0], Tensor):
        return None
    step = math.prod(module.stride[-2:])
    taken = math.prod(args[0].shape[-2:])
    return taken * step if module.transposed else taken // step


HOOKS = (Begins, Ends, Head, lineage.Made)


def adopt(generator: nn.Module, path: str) -> None:
    """Regularize what the convolution at path consumes too, as a checkpoint of a generator that had grown says."""
    vigil = next((hook.vigil for _, _, hook in hooks.find(generator, Begins)), None)
    if vigil is not None and vigil.heads.known[0].site.side == "input":
        vigil.heads.stand_at(generator, climb(generator, path))
        vigil.heads.place(generator)


def keep(generator: nn.Module, standing_hooks: list[hooks.SiteHook], plan: Plan, known_by: KnownBy) -> Vigil:
    """Watch over generator, at whose sites these hooks stand, from now on; its first forward is checked too.

    Where sites were named, by hand or by an adapter, other modules that make images are its choice.
    """
    makers = [hook for hook in standing_hooks if not hook.aside]
    made = {out_channels(generator.get_submodule(convolution(generator, hook.site))) for hook in makers}
    named = known_by in ("hand", "adapter")
    channels = set() if named else {channels for channels in made if channels is not None}
    known = [hook for hook in makers if hook.site == makers[0].site]
    vigil = Vigil(plan, watch(generator, standing_hooks, known_by), channels, known)
    for hook in standing_hooks:
        hook.vigil = vigil
    if channels:
        for site in dict.fromkeys(hook.site for hook in makers):
            vigil.heads.mark(generator, site)
    vigil.heads.place(generator)
    generator.register_forward_pre_hook(Begins(vigil), with_kwargs=True)
    generator.register_forward_hook(Ends(vigil))
    vigil.follow_growth(generator)
    return vigil

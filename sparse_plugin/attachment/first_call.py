"""Finding Γ at the first real call, where neither an adapter, the user, nor the modules alone can tell it before.

Until then the generator counts as attached: the first call that succeeds decides, whichever thread or copy makes it, and
checkpoints carry the settings.
"""

from __future__ import annotations

import copy
import math
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import frames, hooks, loading, placement
from sparse_plugin.attachment.child import MEMORY, SparseChild, begin_where
from sparse_plugin.attachment.looks import constrained_input, looking, muted
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.attachment.verify import KnownBy
from sparse_plugin.attachment.vigil import Vigil
from sparse_plugin.errors import SiteError, SparsePluginError
from sparse_plugin.network import detection
from sparse_plugin.network.candidate import Detection
from sparse_plugin.network.sites import CHILD, Site, image_makers, inside, kernel_owners, out_channels
from sparse_plugin.support import advice, capture

_lock = threading.RLock()


def _hint(likely: Sequence[str] = ()) -> str:
    ways = [advice.example() and f"{advice.example()} (an input of one forward)", *map(advice.sites, likely or ["path"])]
    return f"give {advice.any_of(*ways)}"


class Deferred(capture.Unscriptable):
    """A forward pre-hook on the generator: detects on the inputs of the first call, then installs, then lets it run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.is_copy = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Deferred:
        twin = copy.copy(self)
        twin.is_copy = True
        memo[id(self)] = twin
        return twin

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        if capture.recording():
            raise SiteError(
                f"Γ of {type(module).__name__} is not known yet and cannot be found inside torch.compile, jit.trace or "
                f"torch.export; run the {self.plan.role} once before, or {_hint()}"
            )
        if threading.get_ident() in muted:
            return
        if getattr(module, "_is_replica", False):
            raise SiteError(
                f"Γ of {type(module).__name__} is not known yet and cannot be found in a replica of DataParallel; {_hint()}"
            )
        with _lock:
            if not any(hook is self for hook in module._forward_pre_hooks.values()):
                return  # another thread was first
            kwargs = kwargs or {}
            with looking():
                chosen, known_by = placement.resolve(module, self.plan, args, kwargs)
            assert chosen is not None  # as it is where the inputs are known
            watch = self.install(module, chosen, known_by)
            watch.begin(module, args, kwargs)  # whose own hook begins with the next call

    def install(self, generator: nn.Module, chosen: tuple[Site, ...], known_by: KnownBy) -> Vigil:
        """Regularize what was found, and wait no longer. Returns what watches over it."""
        waiting = _child(generator)
        expected = waiting.places
        settle(generator, (Guard, Called))
        try:
            watch = placement.install(generator, chosen, self.plan, known_by, self.is_copy)
        finally:
            hooks.remove(generator, DEFERRED)  # not before: calls of other threads wait in it for what is being installed
        for path, module in generator.named_modules():
            if isinstance(module, SparseChild) and path in waiting.kept:
                module.begin(waiting.kept[path])
            elif isinstance(module, SparseChild):
                begin_where(waiting, module)
        loading.check_places(generator, expected)
        return watch


class Guard(capture.Unscriptable):
    """A forward pre-hook on every convolution: whose call it runs in, where that is not the generator's own, tells D1 as well.

    likely: the paths of the convolutions that make an image, as far as the modules alone show it.
    """

    def __init__(self, likely: tuple[str, ...], plan: Plan, generator: nn.Module | None) -> None:
        self.likely, self.plan = likely, plan
        self.generator = None if generator is None else weakref.ref(generator)  # None in a copy
        # By thread, and by part: what the latest call of it was given.
        self.called: dict[tuple[int, nn.Module], tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.encoding: dict[int, FrameType] = {}  # by thread: the running call of a part that makes none of the generator's images

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "generator": None, "encoding": {}, "called": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> Guard:
        twin = Guard(self.likely, self.plan, None)
        memo[id(self)] = twin
        return twin

    def __call__(self, module: nn.Module, args: Any) -> Any:
        if threading.get_ident() in muted:
            makes = self.plan.role == "generator" and (out_channels(module) or 99) <= 4
            return constrained_input(self.plan.regularizer, args) if makes else None
        if self.plan.role == "discriminator":  # whose parts make no image by which it could be found
            raise self._unknown(module)
        with _lock:
            generator = None if self.generator is None else self.generator()
            path = None if generator is None else path_of(generator, module)
            if generator is None or path is None or capture.recording():
                raise self._unknown(module)
            return self._follow(generator, module, path, args)

    def _follow(self, generator: nn.Module, module: nn.Module, path: str, args: Any) -> Any:
        """Find D1 by the running call, if it makes an image. Returns what module shall consume, None for its own input."""
        me = threading.get_ident()
        calls = frames.part_calls(module, path)
        if any(call.frame is self.encoding.get(me) for call in calls):
            return None
        call, found = self._traced(generator, module, calls)
        if found.image and frames.is_code(math.prod(found.image[-2:]), call.given):
            self.encoding[me] = call.frame
            return None
        if not _may_be_its_image(generator, found.image):
            raise self._unknown(module)
        chosen = detection.told(generator, found)
        if any(inside(path, site.path) for site in chosen):  # it has begun already
            raise self._unknown(module)
        waiting = next((hook for hook in generator._forward_pre_hooks.values() if isinstance(hook, Deferred)), None)
        if waiting is None:
            return None
        waiting.install(generator, chosen, "trace")
        for _, _, hook in hooks.find(module, hooks.SiteHook):  # torch runs the hooks that it had when this module was called
            if hook.site.path == path:
                args = hook(module, args)
        return args

    def _traced(
        self, generator: nn.Module, module: nn.Module, calls: Sequence[frames.PartCall]
    ) -> tuple[frames.PartCall, Detection]:
        """The first of calls that can be made once more, and what it showed."""
        for call in calls:
            owner = generator.get_submodule(call.path)
            given = self.called.get((threading.get_ident(), owner))
            if given is not None and call.frame.f_code.co_name == "forward":
                call = replace(call, run=owner, args=given[0], kwargs=given[1])
            try:
                with looking():
                    return call, detection.trace_call(generator, call.run, call.args, call.kwargs)
            except SparsePluginError:
                raise
            except Exception:  # its variables are not what it was called with any more
                continue
        raise self._unknown(module)

    def _unknown(self, module: nn.Module) -> SiteError:
        return SiteError(
            f"a {type(module).__name__} of the {self.plan.role} ran before the {self.plan.role} was called, so its forward, or a part of "
            f"it such as decode or synthesis, is called directly and Γ cannot be found; {_hint(self.likely)}"
        )


def path_of(generator: nn.Module, module: nn.Module) -> str | None:
    """The path of module in generator."""
    return next((path for path, inner in generator.named_modules() if inner is module), None)


def _may_be_its_image(generator: nn.Module, image: Sequence[int]) -> bool:
    """Whether what a part makes has the channels of an image: a code may have two or four where a convolution makes one or three."""
    if len(image) < 4 or image[1] > 4:
        return False
    return image[1] in (1, 3) or not any(out_channels(module) in (1, 3) for _, module in kernel_owners(generator))


class Called(capture.Unscriptable):
    """A forward pre-hook on every part of a generator: keeps what it is called with until D1 is known, for its variables change."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() not in muted and not capture.recording():
            self.guard.called[threading.get_ident(), module] = args, kwargs


class Waiting(SparseChild):
    """The child of the generator itself while the site is not known. places: where a checkpoint that was loaded had it, and kept: what
    the buffers of each held there, by its path.
    """

    places: frozenset[str] = frozenset()
    kept: Mapping[str, Mapping[str, Tensor]] = {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if self.slots and isinstance(theirs := state_dict.get(f"{prefix}{MEMORY}"), Tensor):
            self.memory = self.memory.new_zeros(theirs.shape)  # how many channels there are is not known yet
        super()._load_from_state_dict(state_dict, prefix, *rest)


DEFERRED = (Deferred, Guard, Called)


def defer(generator: nn.Module, plan: Plan) -> None:
    """Install plan at the first call of generator, which tells the sites."""
    generator.add_module(CHILD, Waiting(plan.regularizer, None, role=plan.role).train(generator.training))
    generator.register_forward_pre_hook(Deferred(plan), with_kwargs=True)
    loading.follow(generator)
    likely = image_makers(generator)[:3] if plan.role == "generator" else []
    guard = Guard(tuple(likely), plan, generator)
    owners = [module for _, module in kernel_owners(generator)]
    for module in generator.modules():
        if module in owners:
            module.register_forward_pre_hook(guard)
        elif module is not generator and next(module.children(), None) is not None and not isinstance(module, torch.jit.ScriptModule):
            module.register_forward_pre_hook(Called(guard), with_kwargs=True)


def settle(generator: nn.Module, kinds: tuple[type[Any], ...] = DEFERRED) -> None:
    """Take the deferral off generator: its child, and the hooks of these kinds."""
    if isinstance(generator._modules.get(CHILD), Waiting):
        del generator._modules[CHILD]
    for module in generator.modules():
        hooks.remove(module, kinds)


def _child(generator: nn.Module) -> Waiting:
    child = generator._modules[CHILD]
    assert isinstance(child, Waiting)
    return child

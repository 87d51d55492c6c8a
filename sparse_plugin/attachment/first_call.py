"""Finding Γ at the first real call, where neither an adapter, the user, nor the modules alone can tell it before.

Until then the generator counts as attached: the first call that succeeds decides, whichever thread or copy makes it, and
checkpoints carry the settings.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

from torch import nn

from sparse_plugin.attachment import hooks, loading, placement
from sparse_plugin.attachment.child import MEMORY, SparseChild, begin_where
from sparse_plugin.attachment.looks import constrained_input, looking, muted
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.errors import SiteError
from sparse_plugin.network.sites import CHILD, image_makers, kernel_owners, out_channels
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
                f"torch.export; run the generator once before, or {_hint()}"
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
            waiting = _child(module)
            expected = waiting.places
            settle(module)
            watch = placement.install(module, chosen, self.plan, known_by, self.is_copy)
            for _, _, hook in hooks.find(module, hooks.SiteHook):
                begin_where(waiting, hook.state.child)
            loading.check_places(module, expected)
            watch.begin(module, args, kwargs)  # whose own hook begins with the next call


class Guard(capture.Unscriptable):
    """A forward pre-hook on every convolution: nothing may run before the generator itself was called.

    likely: the paths of the convolutions that make an image, as far as the modules alone show it.
    """

    def __init__(self, likely: tuple[str, ...], plan: Plan) -> None:
        self.likely, self.plan = likely, plan

    def __call__(self, module: nn.Module, args: Any) -> Any:
        if threading.get_ident() in muted:
            makes = (out_channels(module) or 99) <= 4
            return constrained_input(self.plan.regularizer, args) if makes else None
        raise SiteError(
            f"a {type(module).__name__} of the generator ran before the generator was called, so its forward, or a part of it "
            f"such as decode or synthesis, is called directly and Γ cannot be found; {_hint(self.likely)}"
        )


class Waiting(SparseChild):
    """The child of the generator itself while the site is not known. places: where a checkpoint that was loaded had it."""

    places: frozenset[str] = frozenset()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if self.slots and (theirs := state_dict.get(f"{prefix}{MEMORY}")) is not None:
            self.memory = self.memory.new_zeros(theirs.shape)  # how many channels there are is not known yet
        super()._load_from_state_dict(state_dict, prefix, *rest)


DEFERRED = (Deferred, Guard)


def defer(generator: nn.Module, plan: Plan) -> None:
    """Install plan at the first call of generator, which tells the sites."""
    generator.add_module(CHILD, Waiting(plan.regularizer, None).train(generator.training))
    generator.register_forward_pre_hook(Deferred(plan), with_kwargs=True)
    loading.follow(generator)
    guard = Guard(tuple(image_makers(generator)[:3]), plan)
    for _, module in kernel_owners(generator):
        module.register_forward_pre_hook(guard)


def settle(generator: nn.Module) -> None:
    """Take the deferral off generator."""
    if isinstance(generator._modules.get(CHILD), Waiting):
        del generator._modules[CHILD]
    for module in generator.modules():
        hooks.remove(module, DEFERRED)


def _child(generator: nn.Module) -> Waiting:
    child = generator._modules[CHILD]
    assert isinstance(child, Waiting)
    return child

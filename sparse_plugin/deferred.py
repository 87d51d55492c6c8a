"""Finding Γ at the first real call, where neither an adapter, the user, nor the modules alone can tell it before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sparse_plugin import advice, capture, placement
from sparse_plugin.errors import SiteError
from sparse_plugin.hooks import remove
from sparse_plugin.plan import Plan
from sparse_plugin.sites import image_makers, kernel_owners


def _hint(likely: Sequence[str] = ()) -> str:
    ways = [advice.example() and f"{advice.example()} (an input of one forward)", *map(advice.sites, likely or ["path"])]
    return f"give {advice.any_of(*ways)}"


class Deferred(capture.Unscriptable):
    """A forward pre-hook on the generator: detects on the inputs of the first call, then installs, then lets it run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if capture.recording():
            raise SiteError(
                f"Γ of {type(module).__name__} is not known yet and cannot be found inside torch.compile, jit.trace or "
                f"torch.export; run the generator once before, or {_hint()}"
            )
        settle(module)
        chosen, known_by = placement.resolve(module, self.plan, args, kwargs)
        assert chosen is not None  # as it is where the inputs are known
        placement.install(module, chosen, self.plan, known_by)


class Guard(capture.Unscriptable):
    """A forward pre-hook on every convolution: nothing may run before the generator itself was called.

    likely: the paths of the convolutions that make an image, as far as the modules alone show it.
    """

    def __init__(self, likely: tuple[str, ...]) -> None:
        self.likely = likely

    def __call__(self, module: nn.Module, args: Any) -> None:
        raise SiteError(
            f"a {type(module).__name__} of the generator ran before the generator was called, so its forward, or a part of it "
            f"such as decode or synthesis, is called directly and Γ cannot be found; {_hint(self.likely)}"
        )


DEFERRED = (Deferred, Guard)


def defer(generator: nn.Module, plan: Plan) -> None:
    """Install plan at the first call of generator, which tells the sites."""
    generator.register_forward_pre_hook(Deferred(plan), with_kwargs=True)
    guard = Guard(tuple(image_makers(generator)[:3]))
    for _, module in kernel_owners(generator):
        module.register_forward_pre_hook(guard)


def settle(generator: nn.Module) -> None:
    """Take the deferral off generator."""
    for module in generator.modules():
        remove(module, DEFERRED)

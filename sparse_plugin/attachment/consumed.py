"""What D1 really consumes: looked at once, and where its module has a forward of its own once in training and once in evaluation, for
whatever may stand between the site and the convolution.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.hooks import SiteHook, remove
from sparse_plugin.attachment.looks import muted
from sparse_plugin.errors import SiteError
from sparse_plugin.network.images import image_of
from sparse_plugin.network.inside import Convolution, Inside, quiet
from sparse_plugin.network.once_more import is_linear_in_its_input
from sparse_plugin.network.sites import CHILD, convolution, own_forward, repeats
from sparse_plugin.registry.base import AtomPenalty
from sparse_plugin.support import advice, capture
from sparse_plugin.support.compiled import uncompiled

_lock = threading.Lock()


class Consumed(capture.Unscriptable):
    """A forward hook on the module of D1, until what it hands its convolution was seen to be Γ, and to meet the constraints.

    makes: whether it was found to make the image, so that Γ must be what the convolution in it takes. behind: whether positions are
    repeated between the site and this module, so that counts over several of them are others here.
    """

    def __init__(self, hooks: Sequence[SiteHook], makes: bool, behind: bool, own: bool) -> None:
        self.hooks, self.makes, self.behind, self.own = hooks, makes, behind, own
        self.seen: set[bool] = set()  # the modes, training or not, in which it was looked at
        self.running: dict[int, Inside] = {}  # by thread
        self.watching = False  # whether any is running; a frame that is compiled while none is must not stand for one while one is

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "running": {}, "watching": False}

    @staticmethod
    def place(generator: nn.Module, hooks: Sequence[SiteHook], makes: bool) -> None:
        """Look at the next forward of D1 behind the site of hooks. Where Γ is no input there is nothing to see."""
        site = hooks[0].site
        seen = [hook for hook in hooks if isinstance(hook, ConstraintHook) or (makes and not isinstance(hook.regularizer, AtomPenalty))]
        if site.side != "input" or not seen:
            return
        path = convolution(generator, site)
        module = generator.get_submodule(path)
        behind = path != site.path and all(repeats(m) for m in _between(generator, site.path, path))
        own = own_forward(module)
        if not own and (behind or not any(isinstance(hook, ConstraintHook) for hook in seen)):
            return  # each of D1's needles is one of Γ, and Γ is judged at its site
        hook = Consumed(seen, makes, behind, own)
        if own:
            module.register_forward_pre_hook(_Begins(hook), with_kwargs=True)
        module.register_forward_hook(hook, with_kwargs=True, always_call=own)

    def begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Module, whose forward is its own, is called."""
        if torch.compiler.is_dynamo_compiling():
            if self.makes and not self.seen and not capture.exporting():  # where torch may break its graph it does, and this runs
                raise SiteError(
                    f"{type(module).__name__} has a forward of its own, and what the convolution in it takes cannot be seen inside "
                    f"torch.compile; run the generator once before it is compiled, or give {advice.example() or 'an input'}"
                )
            return
        if not self._done(module):
            uncompiled(self._begin)(module, args)

    def _done(self, module: nn.Module) -> bool:
        """Whether nothing is left to see in this mode: asked first, as it is at every step."""
        return not self.running and module.training in self.seen

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        me = threading.get_ident()
        if (left := self.running.pop(me, None)) is not None:  # by a forward that was interrupted
            left.end()
        if me in muted or not (args and isinstance(args[0], Tensor) and capture.readable(args[0]) and quiet()):
            return
        if not any(hook is self for hook in module._forward_hooks.values()):
            return  # somebody looks without us, and nothing would tell when the forward ends
        gamma = args[0]
        with _lock:
            if module.training in self.seen:
                return
            now = self.running[me] = Inside(module, gamma, lambda taken: self._meets(gamma, taken))
            self.watching = True
        now.begin()

    def __call__(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        if torch.compiler.is_dynamo_compiling():
            if self.watching:
                uncompiled(self._end)(module, args, *rest)
        elif not self._done(module):
            uncompiled(self._end)(module, args, *rest)

    def _end(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        kwargs = rest[0] if len(rest) > 1 else {}  # gone where another thread has just taken this hook off
        inside = self.running.pop(threading.get_ident(), None)
        if inside is not None:
            inside.end()
            self.watching = bool(self.running)
        elif self.own or threading.get_ident() in muted:
            return
        if rest[-1] is None or not (args and isinstance(args[0], Tensor) and capture.readable(args[0])):
            return
        if inside is not None:
            self._check_inside(module, args, kwargs, inside, image_of(rest[-1]))
        elif not self._meets(args[0], args[0]):
            raise self._mixed(module)
        with _lock:
            self.seen.add(module.training)
            if not self.own or (len(self.seen) == 2 and not self.running):  # else another thread would never be told that it ends
                remove(module, HOOKS)

    def _check_inside(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], inside: Inside, image: Tensor | None
    ) -> None:
        makers = [] if image is None else inside.makers(image)
        if self.makes and makers and not self._takes_gamma(module, args, kwargs, makers):
            raise SiteError(
                f"the {self.hooks[0].site} is not what the convolution takes that makes the image in {type(module).__name__}: that takes "
                "another argument of it, or what it has computed by a convolution before. Have Γ be the first argument of a module "
                f"that convolves it once, or name the site by hand with {advice.sites()}"
            )
        if not all(each.good for each in inside.ran):
            raise self._mixed(module)

    @staticmethod
    def _takes_gamma(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], makers: Sequence[Convolution]
    ) -> bool:
        """Whether all that makes the image takes Γ; or some of it does and the rest is linear in Γ too, as in an adapter."""
        takes = [each.gamma for each in makers]
        return all(takes) or (any(takes) and is_linear_in_its_input(module, args, kwargs))

    def _meets(self, gamma: Tensor, taken: Tensor) -> bool:
        """Whether what a convolution takes, where Γ is gamma, meets the constraints, as far as that can be told."""
        needles = _as_gamma(taken, tuple(gamma.shape))
        for hook in self.hooks:
            if needles is None or not isinstance(hook, ConstraintHook):
                continue
            constraint = hook.state.acting or hook.regularizer
            if constraint.holds(needles):
                continue
            # Repeated positions are more than were counted; none of them has a value of its own.
            if not self.behind or constraint.holds(gamma) or not _repeated(gamma, needles):
                return False
        return True

    def _mixed(self, module: nn.Module) -> SiteError:
        constraints = " and ".join(str(hook.state.acting or hook.regularizer) for hook in self.hooks if isinstance(hook, ConstraintHook))
        return SiteError(
            f"{constraints} {'hold' if ' and ' in constraints else 'holds'} at the {self.hooks[0].site}, and what {type(module).__name__} "
            "hands its convolution from there does not meet it: something between mixes positions or channels, such as a bilinear "
            f"upsampling, or adds to them. Name a site behind that with {advice.sites()}"
        )


class _Begins(capture.Unscriptable):
    """A forward pre-hook, on a module with a forward of its own."""

    def __init__(self, look: Consumed) -> None:
        self.look = look

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.look.begin(module, args)


HOOKS = (Consumed, _Begins)


def _as_gamma(taken: Tensor, size: tuple[int, ...]) -> Tensor | None:
    """taken as (N, C, ...) where it has Γ's channels, or its samples and channels in one axis, as modulation lays them out."""
    if len(size) < 3 or taken.dim() != len(size):
        return None
    if taken.shape[:2] == (1, size[0] * size[1]):
        return taken.reshape(size[0], size[1], *taken.shape[2:])
    return taken if taken.shape[1] == size[1] else None


def _repeated(gamma: Tensor, taken: Tensor) -> bool:
    """Whether taken may be gamma with its positions repeated, scaled maybe: no map of it has more values but 0 than that of gamma."""

    def values(maps: Tensor) -> Tensor:
        ordered = maps.flatten(2).sort(-1).values
        other = torch.ones_like(ordered, dtype=torch.bool)
        other[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        return (other & (ordered != 0)).sum(-1)

    return bool((values(taken) <= values(gamma)).all())


def _between(generator: nn.Module, site: str, path: str) -> list[nn.Module]:
    """The modules that stand between Γ, which enters the module at site, and the convolution at path."""
    outer = generator.get_submodule(site)
    if isinstance(outer, nn.Sequential):
        first = path[len(site) :].lstrip(".").partition(".")[0]
        names = [name for name, _ in outer.named_children() if name != CHILD]
        before = [outer.get_submodule(name) for name in names[: names.index(first)]]
        inner = outer.get_submodule(first)
        around = [outer] if own_forward(outer) else []
        return [*around, *before] if path.endswith(f".{first}") or path == first else [*around, *before, inner]
    parent = generator.get_submodule(site.rpartition(".")[0])
    names = [name for name, _ in parent.named_children()]
    return [parent.get_submodule(name) for name in names[names.index(site.rpartition(".")[2]) : names.index(path.rpartition(".")[2])]]

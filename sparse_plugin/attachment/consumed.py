"""What D1 really consumes: looked at once, for whatever may stand between the site and the convolution."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.hooks import SiteHook, remove
from sparse_plugin.attachment.looks import muted
from sparse_plugin.errors import SiteError
from sparse_plugin.network.probe import undisturbed
from sparse_plugin.network.sites import CHILD, convolution, repeats
from sparse_plugin.support import advice, capture

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class _Seen(BaseException):
    """What a convolution was about to take. The convolution itself need not run, and nobody can count it as one."""

    def __init__(self, taken: Tensor) -> None:
        super().__init__()
        self.taken = taken


class _Inputs(TorchFunctionMode):
    """Ends, by `_Seen`, what runs inside it at the first convolution of as many channels as a Γ of this shape has: a module
    may work on its style, say, before.
    """

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name.startswith("conv") and name[-2:] in ("1d", "2d", "3d"):
            taken = args[0] if args else (kwargs or {}).get("input")
            gamma = _as_gamma(taken, self.size) if isinstance(taken, Tensor) else None
            if gamma is not None:
                raise _Seen(gamma)
        return func(*args, **(kwargs or {}))


class Consumed(capture.Unscriptable):
    """A forward hook on the module of D1, until what it hands its convolution was seen to meet the constraint."""

    def __init__(self, hooks: Sequence[ConstraintHook]) -> None:
        self.hooks = hooks

    @staticmethod
    def place(generator: nn.Module, hooks: Sequence[SiteHook]) -> None:
        """Look at the next forward of D1 behind the site of hooks. Where Γ is no input, or a penalty's, there is nothing to see."""
        site, constraints = hooks[0].site, [hook for hook in hooks if isinstance(hook, ConstraintHook)]
        if site.side != "input" or not constraints:
            return
        path = convolution(generator, site)
        if path != site.path and all(repeats(m) for m in _between(generator, site.path, path)):
            return  # each of D1's needles is one of Γ, and Γ is judged at its site
        generator.get_submodule(path).register_forward_hook(Consumed(constraints), with_kwargs=True)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        kwargs = rest[0] if len(rest) > 1 else {}  # gone where another thread has just taken this hook off
        if torch.compiler.is_dynamo_compiling() or threading.get_ident() in muted:
            return
        if not (args and isinstance(args[0], Tensor) and capture.readable(args[0])):
            return
        taken = _taken(module, args, kwargs)
        for hook in self.hooks:
            constraint = hook.state.acting or hook.regularizer
            if taken is None or constraint.holds(taken):
                continue
            raise SiteError(
                f"{constraint} holds at the {hook.site}, and what {type(module).__name__} hands its convolution from there "
                "does not meet it: something between mixes positions or channels, such as a bilinear upsampling. Name a "
                f"site behind that with {advice.sites()}"
            )
        remove(module, Consumed)


def _taken(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """What the convolution in module takes, where it takes Γ; a module of somebody's own runs up to there once more."""
    gamma = args[0] if args else None
    if not isinstance(gamma, Tensor):
        return None
    if type(module).forward in (kind.forward for kind in _CONVOLUTIONS):
        return gamma
    try:
        with undisturbed(module), torch.no_grad(), _Inputs(tuple(gamma.shape)):
            module.forward(*args, **kwargs)
    except _Seen as seen:
        return seen.taken
    return None


def _as_gamma(taken: Tensor, size: tuple[int, ...]) -> Tensor | None:
    """taken as (N, C, ...) where it has Γ's channels, or its samples and channels in one axis, as modulation lays them out."""
    if len(size) < 3 or taken.dim() != len(size):
        return None
    if taken.shape[:2] == (1, size[0] * size[1]):
        return taken.reshape(size[0], size[1], *taken.shape[2:])
    return taken if taken.shape[1] == size[1] else None


def _between(generator: nn.Module, site: str, path: str) -> list[nn.Module]:
    """The modules that stand between Γ, which enters the module at site, and the convolution at path."""
    outer = generator.get_submodule(site)
    if isinstance(outer, nn.Sequential):
        first = path[len(site) :].lstrip(".").partition(".")[0]
        names = [name for name, _ in outer.named_children() if name != CHILD]
        before = [outer.get_submodule(name) for name in names[: names.index(first)]]
        inner = outer.get_submodule(first)
        return before if path.endswith(f".{first}") or path == first else [*before, inner]
    parent = generator.get_submodule(site.rpartition(".")[0])
    names = [name for name, _ in parent.named_children()]
    return [parent.get_submodule(name) for name in names[names.index(site.rpartition(".")[2]) : names.index(path.rpartition(".")[2])]]

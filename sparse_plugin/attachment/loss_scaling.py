"""The factor of a torch.amp.GradScaler, which a penalty's gradient has to have as its loss has it."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from wrapt import FunctionWrapper

from sparse_plugin.attachment import accelerated, lightning
from sparse_plugin.errors import PenaltyError
from sparse_plugin.support.subclasses import when_any_defined

_scaling: weakref.ref[Scaling] | None = None


def loss_scale() -> Tensor | None:
    """The factor by which the loss of the running backward pass was multiplied, if a GradScaler did; a 0-dim tensor."""
    now = None if _scaling is None else _scaling()
    return None if now is None else now.factor


def _any_compiled() -> bool:
    """Whether a penalty is part of a compiled graph that is in use; one that is only waiting to be collected is not."""
    if any(hook.compiled for hook in _followed):
        gc.collect()
    return any(hook.compiled for hook in _followed)


class Scaling:
    """A backward pass of a scaled loss. The engine alone keeps it, so that it is gone with the pass, which may fail."""

    def __init__(self, factor: Tensor) -> None:
        self.factor = factor

    def end(self) -> None:
        """The pass came to its end."""
        global _scaling
        if _scaling is not None and _scaling() is self:
            _scaling = None


def _enter(factor: Tensor) -> None:
    global _scaling
    now = Scaling(factor)
    _scaling = weakref.ref(now)
    torch.autograd.Variable._execution_engine.queue_callback(now.end)


def _scaled(wrapped: Any, scaler: Any, args: Any, kwargs: Any) -> Any:
    """A scaler's `scale`, telling the backward pass of its result by how much it is scaled."""
    out = wrapped(*args, **kwargs)
    factor = getattr(scaler, "_scale", None)
    # A class's function called on another class's scaler is seen by the latter.
    if factor is not None and scaler.is_enabled():
        if _any_compiled():
            raise PenaltyError(
                "the gradient of a penalty inside torch.compile cannot follow a GradScaler; train in bfloat16, which needs "
                "none, or compile what comes before the generator's last convolution only"
            )
        at = factor.detach().clone()
        for loss in [out] if isinstance(out, Tensor) else [o for o in out if isinstance(o, Tensor)]:
            if loss.requires_grad:
                loss.register_hook(lambda grad: _enter(at))  # type: ignore[no-untyped-call]
    return out


_followed: weakref.WeakSet[Any] = weakref.WeakSet()
_undo: list[Callable[[], None]] = []


def follow_loss_scaling(hook: Any) -> None:
    """Keep gradients exact under torch.amp.GradScaler, and every class derived from it, now or later, with a `scale` of its own or
    not, and under accelerate and Lightning, for as long as hook lives or until `unfollow`.
    """
    _followed.add(hook)
    if not _undo:
        _undo.append(when_any_defined(GradScaler, _watch))
        _watch(GradScaler)
    accelerated.follow(_undo)
    lightning.follow(_undo)


def _watch(kind: Any) -> None:
    """Wrap the `scale` of one class of scalers: its own, or one that it has from a class beside GradScaler."""
    original = inspect.getattr_static(kind, "scale")
    if isinstance(original, FunctionWrapper) and original._self_wrapper is _scaled:
        return
    own = "scale" in vars(kind)
    kind.scale = wrapper = FunctionWrapper(original, _scaled)

    def undo() -> None:
        if vars(kind).get("scale") is not wrapper:
            return  # somebody wrapped it after us
        if own:
            kind.scale = original
        else:
            del kind.scale

    _undo.append(undo)


def unfollow(hook: Any) -> None:
    """Undo `follow_loss_scaling`; the last one gives the scalers back their own methods."""
    _followed.discard(hook)
    while _undo and not _followed:
        _undo.pop()()

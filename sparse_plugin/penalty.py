"""How a penalty reaches the generator's loss.

By `loss`: Γ passes through `Hold`, whose node keeps it as long as the graph lives; whoever computes the generator's
loss takes the penalty of that Γ and adds it. By `gradient`: Γ passes through `AddGradient`, whose backward adds the
penalty's gradient, so that no host code need know.
"""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import torch
from torch import Tensor
from wrapt import wrap_function_wrapper

from sparse_plugin.errors import PenaltyError
from sparse_plugin.registry.base import Penalty

log = logging.getLogger("sparse_plugin")

# The factor by which the loss of the running backward pass was multiplied, if a GradScaler did; a 0-dim tensor.
_loss_scale: Tensor | None = None
_said: set[str] = set()


def value(penalty: Penalty, gamma: Tensor) -> Tensor:
    """The penalty of gamma, in float32 at least: half precision overflows a sum over Γ."""
    with torch.autocast(gamma.device.type, enabled=False):
        return penalty.penalty(gamma.float() if gamma.dtype in (torch.float16, torch.bfloat16) else gamma)


class Hold(torch.autograd.Function):
    """Γ, unchanged, kept by its own node: a weak reference to the node is one to Γ with the graph that made it."""

    @staticmethod
    def forward(ctx: Any, gamma: Tensor) -> Tensor:
        ctx.save_for_backward(gamma)
        return gamma.view_as(gamma)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class AddGradient(torch.autograd.Function):
    """Γ, unchanged; the backward pass adds the penalty's gradient, as if it had been added to the loss.

    The penalty is computed there and only there: forwards that no backward follows (a discriminator's step) cost nothing.
    """

    @staticmethod
    def forward(ctx: Any, gamma: Tensor, penalty: Penalty, share: float, counter: Counter) -> Tensor:
        ctx.save_for_backward(gamma)
        ctx.penalty, ctx.share, ctx.counter = penalty, share, counter
        ctx.differentiated = False
        return gamma.view_as(gamma)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():
            ctx.differentiated = True
            return grad, None, None, None
        if ctx.differentiated:
            _say_once(
                "second-order gradients are taken through a forward pass of the generator, as path-length regularization "
                "does; the penalty belongs to its loss, and its gradient is left out of that pass"
            )
            return grad, None, None, None
        ctx.counter.backwards += 1
        leaf = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            term = value(ctx.penalty, leaf)
        factor = torch.full_like(term, ctx.share)
        if _loss_scale is not None:
            factor = factor * _loss_scale.to(term)
        (slope,) = torch.autograd.grad(term, leaf, factor, allow_unused=True)
        return grad if slope is None else slope.add_(grad), None, None, None


class AddTerm(torch.autograd.Function):
    """The same for a graph that is being compiled: the penalty is computed in the forward pass, as part of the graph."""

    @staticmethod
    def forward(ctx: Any, gamma: Tensor, term: Tensor, share: float) -> Tensor:
        ctx.share, ctx.like = share, term
        return gamma.view_as(gamma)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, torch.full_like(ctx.like, ctx.share), None


class Counter:
    """Backward passes that took the penalty's gradient since the generator's last optimizer step."""

    backwards = 0
    said = False  # that there were more of them than expected


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        log.warning(text)


def _scaled(wrapped: Any, scaler: Any, args: Any, kwargs: Any) -> Any:
    """GradScaler.scale, telling the backward pass of its result by how much it is scaled."""
    out = wrapped(*args, **kwargs)
    factor = getattr(scaler, "_scale", None)
    if scaler.is_enabled() and factor is not None:
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


def _any_compiled() -> bool:
    """Whether a penalty is part of a compiled graph that is in use; one that is only waiting to be collected is not."""
    if any(hook.compiled for hook in _followed):
        gc.collect()
    return any(hook.compiled for hook in _followed)


def _enter(factor: Tensor) -> None:
    global _loss_scale
    _loss_scale = factor
    torch.autograd.Variable._execution_engine.queue_callback(_leave)


def _leave() -> None:
    global _loss_scale
    _loss_scale = None


_followed: weakref.WeakSet[Any] = weakref.WeakSet()


def follow_loss_scaling(hook: Any) -> None:
    """Keep gradients exact under torch.amp.GradScaler for as long as hook lives or until `unfollow`."""
    from torch.amp.grad_scaler import GradScaler

    if not hasattr(GradScaler.scale, "__wrapped__"):
        wrap_function_wrapper(GradScaler, "scale", _scaled)
    _followed.add(hook)


def unfollow(hook: Any) -> None:
    """Undo `follow_loss_scaling`; the last one gives GradScaler back its own method."""
    from torch.amp.grad_scaler import GradScaler

    _followed.discard(hook)
    wrapped: Any = GradScaler.scale
    if not _followed and hasattr(wrapped, "__wrapped__"):
        GradScaler.scale = wrapped.__wrapped__  # type: ignore[method-assign]

"""How a penalty reaches the generator's loss.

By `loss`: Γ passes through `identities.Hold`, whose node keeps it as long as the graph lives; whoever computes the generator's
loss takes the penalty of that Γ and adds it. By `gradient`: Γ passes through `identities.AddGradient`, whose backward adds the
penalty's gradient, so that no host code need know.
"""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from wrapt import wrap_function_wrapper

from sparse_plugin.errors import PenaltyError
from sparse_plugin.registry.base import Penalty

log = logging.getLogger("sparse_plugin")

_loss_scale: Tensor | None = None
_said: set[str] = set()


def loss_scale() -> Tensor | None:
    """The factor by which the loss of the running backward pass was multiplied, if a GradScaler did; a 0-dim tensor."""
    return _loss_scale


def value(penalty: Penalty, gamma: Tensor) -> Tensor:
    """The penalty of gamma, in float32 at least: half precision overflows a sum over Γ."""
    device = gamma.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        return penalty.penalty(gamma.float() if gamma.dtype in (torch.float16, torch.bfloat16) else gamma)


class Counter:
    """Backward passes that took the penalty's gradient since the generator's last optimizer step."""

    backwards = 0
    said = False  # that there were more of them than expected


def say_once(text: str) -> None:
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

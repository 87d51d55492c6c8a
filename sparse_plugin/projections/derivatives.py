"""The derivatives of the operators, of every order, backward and forward, alone and under torch.func's transforms.

A projection is linear where its support does not change: its Jacobian is the diagonal of its support. So the gradient is
masked, and the tangent alike; the mask of a gradient is linear in it and its own adjoint, which gives every higher order.

They are kernels of the operators for torch's Autograd key: whoever calls the operator, a graph that was captured or one
level of a nest of transforms, gets them. Each sees one level alone, so it is a function of a single level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

Operator = Callable[..., Tensor]


def of_projection(project: Operator, mask: Operator) -> Operator:
    """The Autograd kernel of a projection, `project(gamma, k)`, whose support is that of its result."""
    return _masked(project, mask, lambda inputs, output: output)


def of_mask(mask: Operator) -> Operator:
    """The Autograd kernel of `mask(grad, projected)`, whose support is that of projected."""
    return _masked(mask, mask, lambda inputs, output: inputs[1])


def _masked(operator: Operator, mask: Operator, support: Callable[[tuple[Any, ...], Tensor], Tensor]) -> Operator:
    """The kernel of an operator whose derivatives in its first argument are the mask by a support."""

    class Masked(_SingleLevelFunction):
        @staticmethod
        def forward(first: Tensor, second: Any) -> Tensor:
            return _below(operator, first, second)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            kept = support(inputs, output)
            ctx.save_for_backward(kept)
            ctx.save_for_forward(kept)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
            return mask(grads[0], ctx.saved_tensors[0]), None

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Tensor:
            return mask(tangents[0], ctx.saved_tensors[0])

    function: Any = Masked

    def kernel(first: Tensor, second: Any) -> Tensor:
        if not (_transformed() or (first.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0):
            with torch._C._AutoDispatchBelowAutograd():
                return operator(first, second)
        with enable_single_level_autograd_function():
            out: Tensor = function.apply(first, second)
            return out

    return kernel


def _transformed() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is not None


def _below(operator: Operator, *args: Any) -> Tensor:
    """The operator on the next level of a nest of transforms, which differentiates for itself, or its own kernel."""
    with torch._C._AutoDispatchBelowAutograd():
        if not _transformed():
            return operator(*args)
        with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
            return operator(*args)

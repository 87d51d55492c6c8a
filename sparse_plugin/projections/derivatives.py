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


def kernels(project: Operator, mask: Operator) -> tuple[Operator, Operator]:
    """The Autograd kernels of a projection, `project(gamma, k)`, and of the mask of its gradient."""

    class Projection(_SingleLevelFunction):
        @staticmethod
        def forward(gamma: Tensor, k: int) -> Tensor:
            return _below(project, gamma, k)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            ctx.save_for_backward(output)
            ctx.save_for_forward(output)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
            return mask(grads[0], ctx.saved_tensors[0]), None

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Tensor:
            return mask(tangents[0], ctx.saved_tensors[0])

    class Mask(_SingleLevelFunction):
        @staticmethod
        def forward(grad: Tensor, projected: Tensor) -> Tensor:
            return _below(mask, grad, projected)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            ctx.save_for_backward(inputs[1])
            ctx.save_for_forward(inputs[1])

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
            return mask(grads[0], ctx.saved_tensors[0]), None

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Tensor:
            return mask(tangents[0], ctx.saved_tensors[0])

    return _kernel(project, Projection), _kernel(mask, Mask)


def _kernel(operator: Operator, function: Any) -> Operator:
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

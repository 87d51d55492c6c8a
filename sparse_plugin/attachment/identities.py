"""Identities on Γ that carry its penalty to the generator's loss, and pass every derivative of the generator as it is.

`Hold` keeps Γ for whoever computes the loss; `AddGradient` adds the penalty's gradient in the backward pass; `AddTerm` does
so in a graph that is being compiled.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment import accelerated, divided_losses
from sparse_plugin.attachment.gamma_nodes import GammaNodes
from sparse_plugin.attachment.loss_scaling import loss_scale
from sparse_plugin.attachment.penalty import Penalized, say_once, value
from sparse_plugin.attachment.site_state import Counter
from sparse_plugin.errors import PenaltyError
from sparse_plugin.support import advice

_functorch = torch._C._functorch


class Identity(torch.autograd.Function):
    """Γ, unchanged, with its tangent: the image has no penalty in it."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        tangent: Tensor = tangents[0]
        return tangent.view_as(tangent)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], gamma: Tensor, *rest: Any) -> tuple[Tensor, int | None]:
        """What is mapped is one batch, as if the generator had run on all of it at once."""
        if any(dim is not None for dim in in_dims[1:]):
            raise PenaltyError(
                "torch.func.vmap runs several generators at once, and a penalty on atoms is that of one; map over inputs alone, or "
                "detach() the attachment first"
            )
        if in_dims[0] is None:
            return cls.apply(gamma, *rest), None
        gamma = gamma.movedim(in_dims[0], 0)
        return cls.apply(gamma.flatten(0, 1), *rest).view(gamma.shape), 0


class Hold(Identity):
    """Γ, unchanged, kept by its own node: a weak reference to the node is one to Γ with the graph that made it.

    nodes takes that reference; of a nest of torch.func transforms, the innermost's.
    """

    @staticmethod
    def forward(gamma: Tensor, nodes: GammaNodes) -> Tensor:
        return gamma.view_as(gamma)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        gamma, nodes = inputs
        ctx.save_for_backward(gamma)
        ctx.left_out = False
        nodes.keep(gamma.device, ctx)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # A slope that makes something else, such as noise (LOGAN), ends before the weights: this forward is no part of a loss of that.
        ctx.left_out = ctx.left_out or (torch.is_grad_enabled() and not _trains(ctx))
        return grads[0], None


class Passage:
    """What became of the penalty's gradient of one forward of generator: every level of torch.func transforms has a node of its own."""

    taken_by: object = None  # the node whose backward took it, where that can be differentiated again
    taken_in = -1  # the backward pass in which it did
    left_out = False  # whether a backward pass left it out, as one that was not that of the loss

    def __init__(self, generator: weakref.ref[nn.Module] | None = None, trained: frozenset[int] | None = None) -> None:
        self.generator = generator
        # The weights, by identity, of a discriminator: through it go the gradients of the generator's step too, and of penalties on
        # its slope, which end at the images. None of a generator.
        self.trained = trained

    @property
    def of_others(self) -> bool:
        """Whether the running backward pass is of a loss that trains other networks."""
        return accelerated.is_of_others(None if self.generator is None else self.generator())


class AddGradient(Identity):
    """Γ, unchanged; the backward pass adds the penalty's gradient, as if it had been added to the loss.

    of: what the penalty is a function of, where that is not Γ: the atoms.
    A loss of several forwards (mode seeking) has the penalty of all of them as one batch. The penalty is computed there and only
    there: forwards that no backward follows (a discriminator's step) cost nothing.
    """

    @staticmethod
    def forward(
        gamma: Tensor, of: Tensor | None, penalty: Penalized, share: float, counter: Counter, passage: Passage, nodes: GammaNodes
    ) -> Tensor:
        return gamma.view_as(gamma)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        gamma, of, ctx.penalty, ctx.share, ctx.counter, ctx.passage, ctx.nodes = inputs
        ctx.size = len(gamma)
        ctx.nodes.keep(gamma.device, ctx)
        ctx.save_for_backward(*(gamma,) if of is None else (gamma, of))
        ctx.transformed = _functorch.peek_interpreter_stack() is not None
        ctx.node = object()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad, (gamma, *of) = grads[0], ctx.saved_tensors
        _check_one_cotangent(grad, gamma)
        slope = None
        if not ctx.passage.of_others and _belongs_to_loss(ctx):
            ctx.part = _part(ctx)
            ctx.counter.backwards += ctx.part
            slope = _slope(ctx, of[0] if of else gamma)
        return (grad, slope, *_NO_MORE) if of else (_sum(grad, slope), None, *_NO_MORE)


_NO_MORE = (None,) * 5  # of the gradients of what is no tensor


class AddTerm(torch.autograd.Function):
    """The same for a graph that is being compiled: the penalty is computed in the forward pass, as part of the graph."""

    @staticmethod
    def forward(ctx: Any, gamma: Tensor, term: Tensor, share: float) -> Tensor:
        ctx.share, ctx.like = share, term
        return gamma.view_as(gamma)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, torch.full_like(ctx.like, ctx.share), None


def _belongs_to_loss(ctx: Any) -> bool:
    """Whether the running backward pass is that of the generator's loss, and not one of a gradient of it."""
    passage: Passage = ctx.passage
    if passage.trained is not None and not ctx.transformed and passage.taken_by is None:
        return _in_own_step(ctx, passage.trained)
    if ctx.transformed:  # torch.func differentiates from the inside out, and its inner gradient is that of the loss
        mine = passage.taken_by in (None, ctx.node)
        passage.taken_by = passage.taken_by or ctx.node
        return mine
    if passage.taken_by is not None:
        return False
    if torch.is_grad_enabled() and not passage.left_out and _trains(ctx):
        passage.taken_by, passage.taken_in = ctx.node, torch._C._current_graph_task_id()
        return True
    if torch.is_grad_enabled() or passage.left_out:
        passage.left_out = True
        say_once(
            "second-order gradients are taken through a forward pass of the generator, as path-length regularization "
            "does; the penalty belongs to its loss, and its gradient is left out of that pass"
        )
        return False
    return True


def _in_own_step(ctx: Any, trained: frozenset[int]) -> bool:
    """Whether the running backward pass comes to weights of the discriminator before Γ, and to those of no other network."""
    own, others = False, False
    for weight in _weights_below(ctx):
        own, others = own or id(weight) in trained, others or id(weight) not in trained
    if own and others:
        ctx.counter.elsewhere += 1
    if own and not others and torch.is_grad_enabled():
        ctx.passage.taken_by, ctx.passage.taken_in = ctx.node, torch._C._current_graph_task_id()
    return own and not others


def _trains(node: Any) -> bool:
    """Whether the running backward pass reaches a parameter below node: a loss's does, that of a path length ends at w."""
    return any(True for _ in _weights_below(node))


def _weights_below(node: Any) -> Iterator[Any]:
    """The parameters below node that the running backward pass reaches."""
    seen, todo = set(), [node]
    while todo:
        at = todo.pop()
        if at is None or at in seen:
            continue
        seen.add(at)
        if isinstance(variable := getattr(at, "variable", None), torch.nn.Parameter):
            try:
                if torch._C._will_engine_execute_node(at):
                    yield variable
            except RuntimeError:  # torch.autograd.grad of just this parameter
                yield variable
        todo.extend(parent for parent, _ in at.next_functions)


def _part(ctx: Any) -> float:
    """The share of the samples of all forwards in the running backward pass that are this one's."""
    others = [] if ctx.transformed else [node for node in ctx.nodes.all() if node is not ctx and _shares(node.passage) and _runs(node)]
    return ctx.size / (ctx.size + sum(node.size for node in others)) if others else 1.0


def _shares(passage: Passage) -> bool:
    """Whether a forward may have a penalty in the running backward pass: not one whose gradient made the noise (LOGAN) or the weights of
    another, through which the loss of that other one goes too.
    """
    taken_before = passage.taken_by is not None and passage.taken_in != torch._C._current_graph_task_id()
    return not passage.left_out and not taken_before


def _runs(node: Any) -> bool:
    """Whether the running backward pass comes to node."""
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:
        return False


def _slope(ctx: Any, of: Tensor) -> Tensor | None:
    """The gradient of the penalty in what it is a function of, differentiable again where the running backward pass is."""

    def term(of: Tensor) -> Tensor:
        return value(ctx.penalty, of)

    slope: Tensor | None
    if ctx.transformed:
        slope = torch.func.grad(lambda of: (found := term(of)) * _weight(ctx, found))(of)
        return slope
    again = torch.is_grad_enabled()
    at = of if again else of.detach().requires_grad_()
    with torch.enable_grad():
        found = term(at)
    if not found.requires_grad:  # 0, whatever Γ is
        return None
    (slope,) = torch.autograd.grad(found, at, _weight(ctx, found), create_graph=again, allow_unused=True)
    return slope


def _weight(ctx: Any, term: Tensor) -> Tensor:
    """What the term is multiplied by: its share of the accumulated loss, and the factor of a GradScaler."""
    weight, scale = torch.full_like(term, _share(ctx) * ctx.part), loss_scale()
    return weight if scale is None else weight * scale.to(term)


def _share(ctx: Any) -> float:
    """Of the accumulated loss: what was asked for, or else what accelerate or Lightning makes of a loss that is handed to it."""
    told = divided_losses.share()
    ctx.counter.told = told is not None
    return float(ctx.share if told is None or ctx.share != 1 else told)


def _sum(grad: Tensor, slope: Tensor | None) -> Tensor:
    if slope is None:
        return grad
    if torch.is_grad_enabled() or _functorch.is_functorch_wrapped_tensor(grad):
        return slope + grad
    return slope.add_(grad)


def _check_one_cotangent(grad: Tensor, gamma: Tensor) -> None:
    """Refuse several cotangents for one forward: a Jacobian has no loss that the penalty could be a term of."""
    here, there = _mapped(grad), _mapped(gamma)
    several = any(size > 1 for level, size in here.items() if level not in there)
    if several or _functorch.is_legacy_batchedtensor(
        grad
    ):  # the latter comes of torch.autograd.grad(is_grads_batched=True)
        raise PenaltyError(
            "a Jacobian is taken through a generator whose penalty adds its gradient in the backward pass, and a Jacobian "
            "belongs to no loss; use torch.func.jacfwd, detach() the attachment first, or attach with "
            f"{advice.setting('delivery', 'loss')}"
        )


def _mapped(tensor: Tensor) -> dict[int, int]:
    """The levels of vmap over which tensor is mapped, with the size of each."""
    sizes = {}
    while _functorch.is_functorch_wrapped_tensor(tensor):
        inner = _functorch.get_unwrapped(tensor)
        if _functorch.is_batchedtensor(tensor):
            sizes[_functorch.maybe_get_level(tensor)] = inner.shape[_functorch.maybe_get_bdim(tensor)]
        tensor = inner
    return sizes

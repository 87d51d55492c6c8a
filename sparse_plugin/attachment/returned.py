"""What the methods of somebody's regularizer give back, looked at before it is used: what is not what was promised is refused here, with
its name, and not by whatever comes upon it later, or never.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from sparse_plugin.errors import GammaError, PenaltyError, SparsePluginError, shown
from sparse_plugin.network.probe import probing
from sparse_plugin.registry.base import Constraint, Observer
from sparse_plugin.support import capture


def represent(
    constraint: Constraint, gamma: Tensor, dictionaries: nn.Module | None = None, observe: Observer | None = None
) -> Tensor:
    """`constraint.represent`. Raises GammaError where that changes gamma itself, or gives back what cannot stand in its place."""
    if capture.recording():  # Dynamo follows no graph break out of a try
        sparse = constraint.represent(gamma, dictionaries, observe)
        if not capture.exporting():
            check(constraint, gamma, sparse)
        return sparse
    before = _version(gamma)
    try:
        sparse = constraint.represent(gamma, dictionaries, observe)
    except Exception as error:
        _fail("project()", constraint, gamma, error)
    check(constraint, gamma, sparse)
    if _version(gamma) != before:
        raise GammaError(
            f"project() of {constraint} changed Γ itself, which other layers and the backward pass may need as it was; let it return a "
            "new tensor, as of torch.where, or begin with gamma = gamma.clone()"
        )
    if gamma.requires_grad and not sparse.requires_grad and torch.is_grad_enabled():
        raise GammaError(
            f"project() of {constraint} returned a tensor without a graph of a Γ that has one, so that nothing before D1 would be trained; "
            "compute it by operations that autograd follows, as gamma * mask"
        )
    return sparse


def holds(constraint: Constraint, gamma: Tensor) -> bool:
    """`constraint.holds`, of what D1 consumes."""
    try:
        return bool(constraint.holds(gamma))
    except Exception as error:
        _fail("holds()", constraint, gamma, error)


def remembering(constraint: Constraint, memory: Tensor, training: bool) -> Constraint:
    """`constraint.remembering`. Raises GammaError where that is no constraint."""
    try:
        made = constraint.remembering(memory, training)
    except Exception as error:
        _fail("remembering()", constraint, memory, error)
    if not isinstance(made, Constraint):
        raise GammaError(
            f"remembering() of {constraint} returned {shown(made)}; let it return what projects Γ, as self.model_copy() with the memory"
        )
    return made


def check(constraint: Constraint, gamma: Tensor, sparse: Tensor) -> None:
    """Raises GammaError for what cannot stand in the place of gamma."""
    if not isinstance(sparse, Tensor):
        given = "None" if sparse is None else f"a {type(sparse).__name__}"
        raise GammaError(f"project() of {constraint} returned {given}; let it return a tensor, which D1 takes in place of Γ")
    if sparse.shape != gamma.shape:
        raise GammaError(
            f"project() of {constraint} made of a Γ of shape {tuple(gamma.shape)} one of shape {tuple(sparse.shape)}; let it return the "
            "same shape"
        )
    # Autocast chooses types by operation, and D1 chooses its own then.
    other = sparse.dtype != gamma.dtype and not (sparse.is_floating_point() and torch.is_autocast_enabled(gamma.device.type))
    if other or sparse.device != gamma.device:
        raise GammaError(
            f"project() of {constraint} made of a Γ of {gamma.dtype} on {gamma.device} one of {sparse.dtype} on {sparse.device}; let it "
            "return the same, as by .to(gamma)"
        )


def scalar(penalty: object, of: Tensor, term: Tensor) -> Tensor:
    """term, what penalty came to on a tensor, as a tensor without axes. Raises PenaltyError for what is no term of a loss, and for a
    number that trains nothing: without a graph, and not 0.
    """
    if not isinstance(term, Tensor):
        raise PenaltyError(f"{_of(penalty)} is {shown(term)}, which is no tensor; return a scalar that torch computed of what is penalized")
    if term.numel() != 1 or not term.is_floating_point():
        raise PenaltyError(
            f"{_of(penalty)} is a tensor of shape {tuple(term.shape)} and {term.dtype}, and a term of a loss is one number of a float "
            "type; return a scalar, as the mean over the batch"
        )
    if of.requires_grad and not term.requires_grad and torch.is_grad_enabled() and capture.readable(term) and bool((term != 0).any()):
        raise PenaltyError(
            f"{_of(penalty)} has no gradient, so that it would train nothing: it counts, compares, or was detached; compute it of what is "
            "penalized by operations that autograd follows"
        )
    return term.reshape(()) if term.dim() else term


def _fail(method: str, constraint: Constraint, given: Tensor, error: Exception) -> NoReturn:
    """Raise what somebody's method raised, as any code in a forward would; in a look at the generator, after which it would be said that
    this does not run on its input, say that it is the method.
    """
    if isinstance(error, SparsePluginError) or not probing():
        raise error
    raise GammaError(f"{method} of {constraint} fails on {tuple(given.shape)} of {given.dtype}: {type(error).__name__}: {error}") from error


def _of(penalty: object) -> str:
    return f"the penalty of {getattr(penalty, 'regularizer', penalty)}"


def _version(gamma: Tensor) -> int:
    """How often gamma was written into, where torch counts that."""
    if torch._C._functorch.is_functorch_wrapped_tensor(gamma) or gamma.is_inference():
        return 0
    return gamma._version

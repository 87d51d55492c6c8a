"""What kind of a forward is running: one on real values, or one that is recorded into a program or has no values.

A recorded forward runs once, perhaps on fake tensors, and its Python leaves nothing in the program: whatever counts,
logs, or checks a value has no place in it.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from sparse_plugin.errors import AttachmentError
from sparse_plugin.support.compiled import constant


@constant
def _exported_by_dynamo() -> bool:
    """Whether torch.export is among the callers of Dynamo, which follows this forward."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "torch.export._trace":
        frame = frame.f_back
    return frame is not None


def _as_before_2_7() -> bool:
    """torch.compiler.is_exporting, which came with torch 2.7."""
    return _exported_by_dynamo() if torch.compiler.is_dynamo_compiling() else True


_is_exporting = getattr(torch.compiler, "is_exporting", _as_before_2_7)


def exporting() -> bool:
    """Whether the forward is recorded into a program that leaves torch's eager world: torch.export, jit.trace, ONNX."""
    if torch.compiler.is_compiling():
        return bool(_is_exporting())
    return torch._C._get_tracing_state() is not None


def recording() -> bool:
    """Whether the forward is recorded: `exporting`, or compiled."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def recomputing() -> bool:
    """Whether a backward pass runs in this thread: a forward within it is one that was there before, in a gradient checkpoint."""
    return torch._C._current_graph_task_id() != -1


def sizes(tensor: Tensor) -> torch.Size:
    """The shape of tensor in integers, or symbols of torch.export, where jit.trace would record how it is asked for."""
    state = None if torch.compiler.is_compiling() else torch._C._get_tracing_state()
    if state is None:
        return tensor.shape
    set_state: Any = torch._C._set_tracing_state  # type: ignore[attr-defined]
    set_state(None)
    try:
        return tensor.shape
    finally:
        set_state(state)


def readable(tensor: Tensor) -> bool:
    """Whether Python can look at the values of tensor: not on the meta device, fake, mapped by vmap, nor being recorded."""
    if recording() or is_lazy(tensor) or tensor.is_meta:
        return False
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return False
        tensor = torch._C._functorch.get_unwrapped(tensor)
    fake = sys.modules.get("torch._subclasses.fake_tensor")
    if tensor.is_meta or (fake is not None and fake.is_fake(tensor)):
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def requires_grad(tensor: Tensor) -> bool:
    """Whether tensor has a gradient at any level of a nest of torch.func transforms; vmap hides that of the levels below."""
    while not tensor.requires_grad and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.requires_grad


def plain(tensor: Tensor) -> Tensor:
    """tensor without a subclass that only adds methods, as hosts use for noise; one that computes by itself stays."""
    if type(tensor) is Tensor or type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return tensor
    return tensor.as_subclass(Tensor)


def no_proxy(module: object, where: object) -> str:
    """Why Γ is a symbol of torch.fx, and what to do."""
    return (
        f"torch.fx.symbolic_trace cannot follow the {where} into {type(module).__name__}; make it a leaf of your Tracer "
        "(is_leaf_module), as convolutions of torch.nn are, or use torch.export"
    )


class ScriptError(AttachmentError, AttributeError):
    """torch.jit.script was asked to compile a hook; an AttributeError too, so that `getattr` with a default passes."""


class Unscriptable:
    """A hook that torch.jit.script cannot compile: it asks each for its name first, and gets a sentence."""

    @property
    def __name__(self) -> str:
        raise ScriptError(
            "torch.jit.script cannot compile the hooks of sparse_plugin; use torch.jit.trace or torch.export on the attached "
            "generator, or detach() it first"
        )

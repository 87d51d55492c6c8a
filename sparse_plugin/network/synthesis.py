"""Reading the synthesis operator of a module: what D1 really applies to Γ, as atoms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import SiteError
from sparse_plugin.network.probe import undisturbed
from sparse_plugin.network.sites import in_channels, own_kernel, spatial_dimensions, weight_in_use

# Those that apply their weight as it is: what a module of another forward applies is seen when it runs.
_FORWARDS = [
    kind.forward
    for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
]


class _Capture(TorchFunctionMode):
    """Sees the convolutions that run inside it, with the weights they really use (spectral norm applied)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, Tensor, dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name.startswith("conv") and name[-2:] in ("1d", "2d", "3d"):
            transposed = "transpose" in name
            rest = ("output_padding", "groups", "dilation") if transposed else ("dilation", "groups")
            order = ("input", "weight", "bias", "stride", "padding", *rest)
            call = {**dict(zip(order, args, strict=False)), **(kwargs or {})}
            self.seen.append((transposed, call["weight"], call))
        return func(*args, **(kwargs or {}))


def operator_of(module: nn.Module, grad: bool = False) -> SynthesisOperator:
    """The dictionary of the one convolution that module is or calls, as atoms, with the weights that it would use now.

    grad: with their graph, so that what is computed from the atoms can be differentiated in what is trained. Raises SiteError as
    `synthesis_operator` does, and where no convolution is to be found.
    """
    weight = weight_in_use(module) if stands_in_module(module) else None
    if isinstance(weight, Tensor):
        conv: Any = module
        return _operator(module, conv.transposed, weight if grad else weight.detach(), conv.stride, conv.dilation, conv.groups)
    channels, kernel = in_channels(module), own_kernel(module)
    if channels is None or kernel is None:
        raise SiteError(f"{type(module).__name__} has no atoms: it is no convolution")
    sides = kernel.shape[-spatial_dimensions(module) :]
    return synthesis_operator(module, kernel.new_zeros(1, channels, *(max(8, side) for side in sides)), grad)


def stands_in_module(module: nn.Module) -> bool:
    """Whether the weight that module applies can be read without running it: that of torch's own convolutions, parametrized or not.

    Hooks of the older spectral and weight normalisation make one at each forward, and forwards of their own may make another.
    """
    own = type(module).forward in _FORWARDS and "forward" not in vars(module)
    return own and (module._parameters.get("weight") is not None or "parametrizations" in module._modules)


def synthesis_operator(module: nn.Module, gamma: Tensor, grad: bool = False) -> SynthesisOperator:
    """The dictionary that module applies to gamma, as atoms.

    module: a synthesis convolution, a transposed one, or a module that calls just one of them. gamma: (N, C, ...), only
    its shape matters. grad: as of `operator_of`. Raises SiteError where the module is not one linear convolution of Γ alone, or one
    that downsamples.
    """
    # A checkpoint that the forward is a part of counts what is saved in it, and shall not count what is saved here.
    unsaved = saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor) if grad else nullcontext()
    with undisturbed(module), unsaved, torch.enable_grad() if grad else torch.no_grad(), _Capture() as capture:
        module.eval()
        try:
            module(gamma)
        except TypeError as error:
            raise SiteError(
                f"{type(module).__name__} takes more than Γ, a style, say, so it has no atoms: {error}"
            ) from None
    if len(capture.seen) != 1:
        raise SiteError(
            f"{type(module).__name__} runs {len(capture.seen)} convolutions in a forward; atoms need a module that runs one"
        )
    transposed, weight, call = capture.seen[0]
    return _operator(
        module,
        transposed,
        weight if grad else weight.detach(),
        call.get("stride", 1),
        call.get("dilation", 1),
        int(call.get("groups", 1)),
    )


def _operator(module: nn.Module, transposed: bool, weight: Tensor, stride: Any, dilation: Any, groups: int) -> SynthesisOperator:
    spatial = weight.dim() - 2
    stride, dilation = _tuple(stride, spatial), _tuple(dilation, spatial)
    if not transposed and any(step != 1 for step in stride):
        raise SiteError(
            f"{type(module).__name__} has stride {stride} and downsamples; a synthesis convolution has stride 1 or is transposed"
        )
    if transposed:  # (C, out / groups, ...)
        atoms = _block_diagonal(_flat(weight, groups)) if groups > 1 else weight
        out = weight.shape[1] * groups
    else:  # (out, C / groups, ...), and a correlation: one coefficient paints the flipped filter
        weight = weight.flip(tuple(range(2, 2 + spatial)))
        parts = [part.transpose(0, 1) for part in weight.chunk(groups)]
        atoms = _block_diagonal(_flat(torch.cat(parts), groups)) if groups > 1 else parts[0]
        out = weight.shape[0]
    return SynthesisOperator(atoms.reshape(-1, out, *weight.shape[2:]), stride, dilation)


def _flat(weight: Tensor, groups: int) -> list[Tensor]:
    """One (C / groups, out / groups * K) matrix a group; block_diag then keeps each group's atoms to its own outputs."""
    return [part.flatten(1) for part in weight.chunk(groups)]


def _block_diagonal(parts: list[Tensor]) -> Tensor:
    out: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return out


def _tuple(value: int | Sequence[int], length: int) -> tuple[int, ...]:
    return (value,) * length if isinstance(value, int) else tuple(value) * (length if len(value) == 1 else 1)

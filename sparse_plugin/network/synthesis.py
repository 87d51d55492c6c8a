"""Reading the synthesis operator of a module: what D1 really applies to Γ, as atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.errors import SiteError
from sparse_plugin.network.probe import undisturbed


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
            self.seen.append((transposed, call["weight"].detach(), call))
        return func(*args, **(kwargs or {}))


def synthesis_operator(module: nn.Module, gamma: Tensor) -> SynthesisOperator:
    """The dictionary that module applies to gamma, as atoms.

    module: a synthesis convolution, a transposed one, or a module that calls just one of them. gamma: (N, C, ...), only
    its shape matters. Raises SiteError where the module is not one linear convolution of Γ alone, or one that downsamples.
    """
    with undisturbed(module), torch.no_grad(), _Capture() as capture:
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
    spatial, groups = weight.dim() - 2, int(call.get("groups", 1))
    stride = _tuple(call.get("stride", 1), spatial)
    dilation = _tuple(call.get("dilation", 1), spatial)
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

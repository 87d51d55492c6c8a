"""ML-CSC: the inserted dictionaries D2..DL, atoms of D1 and effective atoms of D_eff = D1 D2 .. DL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sparse_plugin.errors import AttachmentError, SiteError
from sparse_plugin.probe import undisturbed

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_SYNTHESIS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Dictionary(nn.Module):
    """A linear, bias-free convolution Γ_(l-1) = D_l Γ_l that keeps channels and size and starts as the identity.

    Not an nn.Conv2d: hosts initialise those again, and wrap them, by their type or name.
    """

    def __init__(self, channels: int, kernel: Sequence[int]) -> None:
        super().__init__()
        with torch.inference_mode(False):  # a parameter that is made inside it could never be trained
            self.weight = nn.Parameter(torch.zeros(channels, channels, *kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew, as the identity."""
        centre: tuple[Any, ...] = (slice(None), slice(None), *(side // 2 for side in self.weight.shape[2:]))
        with torch.no_grad():
            self.weight.zero_()
            self.weight[centre] = torch.eye(len(self.weight), dtype=self.weight.dtype, device=self.weight.device)

    def _apply(self, fn: Any, recurse: bool = True) -> Dictionary:
        was_meta = self.weight.is_meta
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if (
            was_meta and not self.weight.is_meta
        ):  # to_empty() gives memory as it comes, and hosts know only their layers
            self.reset_parameters()
        return self

    def forward(self, gamma: Tensor) -> Tensor:
        """gamma: (N, C, ...) with as many spatial dimensions as the kernel. Returns the same shape."""
        kernel = self.weight.shape[2:]
        return _CONV[len(kernel)](gamma, self.weight, padding=tuple(side // 2 for side in kernel))

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]} atoms of {'x'.join(map(str, self.weight.shape[2:]))}"


class Dictionaries(nn.ModuleDict):
    """D2..DL, by those names."""

    def __init__(self, levels: int, channels: int, kernel: Sequence[int]) -> None:
        super().__init__({f"D{level}": Dictionary(channels, kernel) for level in range(2, levels + 1)})


@dataclass(frozen=True)
class Kernel:
    """The convolution that a module really applies: weight, and the geometry of its synthesis."""

    atoms: Tensor  # (C, out, ...): what one unit coefficient of each channel adds to the output
    stride: tuple[int, ...]
    dilation: tuple[int, ...]


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


def kernel(module: nn.Module, gamma: Tensor) -> Kernel:
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
    return Kernel(atoms.reshape(-1, out, *weight.shape[2:]), stride, dilation)


def _flat(weight: Tensor, groups: int) -> list[Tensor]:
    """One (C / groups, out / groups * K) matrix a group; block_diag then keeps each group's atoms to its own outputs."""
    return [part.flatten(1) for part in weight.chunk(groups)]


def _block_diagonal(parts: list[Tensor]) -> Tensor:
    out: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return out


def _tuple(value: int | Sequence[int], length: int) -> tuple[int, ...]:
    return (value,) * length if isinstance(value, int) else tuple(value) * (length if len(value) == 1 else 1)


def atoms(generator: nn.Module) -> Tensor:
    """The atoms of an attached generator's D1: (C, image channels, height, width).

    Atom c is what a unit coefficient of channel c paints. Raises AttachmentError where nothing is attached.
    """
    return _d1(generator)[0].atoms


def effective_atoms(generator: nn.Module) -> Tensor:
    """The atoms of D_eff = D1 D2 .. DL of a generator attached with ml_csc: (C, image channels, height, width).

    Atom c is what a unit coefficient of channel c of Γ_L paints when nothing is projected between the levels: with a
    3x3 D2 before a 4x4 D1 of stride 2 it is 8x8 (paper, appendix A). Raises AttachmentError where no dictionaries are.
    """
    d1, dictionaries = _d1(generator)
    if not dictionaries:
        raise AttachmentError("this generator has no inserted dictionaries; attach it with 'ml_csc', or use atoms()")
    painted = d1.atoms
    stride, dilation = d1.stride, d1.dilation
    for dictionary in dictionaries:  # D2 first: each lays its own atoms over what the ones below paint
        weight = dictionary.weight.detach()
        flat = tuple(range(2, weight.dim()))
        codes = weight.flip(flat).transpose(0, 1)  # (C of Γ_l, C of Γ_(l-1), ...): the code of one unit coefficient
        painted = _SYNTHESIS[len(flat)](codes, painted.to(codes), stride=stride, dilation=dilation)
        # A step on the grid of Γ_l is a step on that of Γ_1, which D1 lays out with its stride; what is painted by now
        # is dense, so the next level's synthesis has D1's stride and no dilation.
        dilation = (1,) * len(flat)
    return painted


def _d1(generator: nn.Module) -> tuple[Kernel, list[Dictionary]]:
    from sparse_plugin.attachment import Attachment

    attachment = Attachment.of(generator)
    if attachment is None:
        raise AttachmentError(f"nothing is attached to this {type(generator).__name__}; attach() a regularizer first")
    return attachment.kernel(), list(_dictionaries(attachment.inserted()))


def _dictionaries(inserted: Sequence[nn.Module]) -> Iterator[Dictionary]:
    for child in inserted:
        yield from (m for m in child.modules() if isinstance(m, Dictionary))

"""Batch normalisation and convolution of an upsampled tensor, done before it is upsampled: exactly, with fewer products."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

# What turns zeros between samples into samples between them, along one axis.
KERNELS: Mapping[str, tuple[float, ...]] = {"bilinear": (0.25, 0.75, 0.75, 0.25), "nearest": (0.0, 1.0, 1.0, 0.0)}


def normalise_upsampled(x: Tensor, gain: Tensor, bias: Tensor, mode: str, eps: float) -> Tensor:
    """What upsamples to the batch normalisation of the upsampled x [B, C, H, W]; gain and bias are (C,).

    Upsampling U keeps constants and means, so it commutes with the normalisation; the variance is that of U x, and
    |U x|² = x·UᵀU x, where UᵀU / 4 blurs each axis by (3, 10, 3) / 16 for "bilinear" and is the identity for "nearest".
    """
    if mode == "nearest":
        return F.batch_norm(x, None, None, gain, bias, training=True, eps=eps)
    centred = x - x.mean((0, 2, 3), keepdim=True)
    blurred = _blur(F.pad(centred, (1, 1, 1, 1), "replicate"), (3 / 16, 10 / 16, 3 / 16))
    variance = (centred * blurred).mean((0, 2, 3))
    scale = gain * (variance + eps).rsqrt()
    return torch.addcmul(bias.view(-1, 1, 1), centred, scale.view(-1, 1, 1))


def convolve_upsampled(x: Tensor, weight: Tensor, mode: str) -> Tensor:
    """conv(pad(U x)) for x [B, C, H, W], weight [O, C, 3, 3], reflection by 1 and U upsampling by 2: [B, O, 2H, 2W].

    U puts zeros between the samples and then blurs; the blur, the same for every channel, commutes with the convolution,
    which is left with 9 products for a pixel of x instead of 36.
    """
    # Both modes clamp at the border, as does x with one more sample on every side.
    out = _blur(_Spread.apply(F.pad(x, (1, 1, 1, 1), "replicate"), weight), KERNELS[mode])
    if mode == "nearest":
        return out
    # Reflection continues U x by its last sample but one where the clamp repeats the last. By rows, then by columns:
    # Rx Ry - Cx Cy = Rx (Ry - Cy) + (Rx - Cx) Cy, of which only the rim differs from 0.
    return cast(Tensor, _AddRim.apply(out, _rim(x, weight, "reflect"), _rim(x.mT, weight.mT, "replicate").mT))


class _Spread(Function):
    """x [B, C, H, W] with zeros between its samples, convolved with weight [O, C, 3, 3]: [B, O, 2H - 1, 2W - 1].

    This is conv_transpose2d(stride=2, padding=1), whose forward pass takes twice as long on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        out = x.new_empty(len(x), len(weight), *(2 * side - 1 for side in x.shape[2:]))
        taps = (slice(1, 2), slice(0, 3, 2))  # those that meet a sample, at a sample and between two
        for row, column in product((0, 1), repeat=2):
            out[:, :, row::2, column::2] = F.conv2d(x, weight[:, :, taps[row], taps[column]])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        adjoint = weight.transpose(0, 1).flip(2, 3)
        of_adjoint = conv2d_weight(grad, adjoint.shape, x, stride=2, padding=1)  # type: ignore[no-untyped-call]
        return F.conv2d(grad, adjoint, stride=2, padding=1), of_adjoint.flip(2, 3).transpose(0, 1)


class _AddRim(Function):
    """Adds rows [B, O, 2, W] and columns [B, O, H, 2] to the first and last ones of x [B, O, H, W], in place.

    Autograd's own in-place sum of a slice copies the whole gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        x[:, :, :: x.shape[2] - 1] += rows
        x[..., :: x.shape[3] - 1] += columns
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return grad, grad[:, :, :: grad.shape[2] - 1], grad[..., :: grad.shape[3] - 1]


def _rim(x: Tensor, weight: Tensor, mode: str) -> Tensor:
    """What reflection adds to the first and to the last row, beyond a clamp: [B, O, 2, 2W]. mode: pads the rows' ends."""
    steps = torch.stack([x[:, :, 1] - x[:, :, 0], x[:, :, -2] - x[:, :, -1]], 1) / 4
    steps = F.pad(F.interpolate(steps.flatten(1, 2), scale_factor=2, mode="linear"), (1, 1), mode)
    rows = weight[:, :, ::2].permute(2, 0, 1, 3).flatten(0, 1)
    return F.conv1d(steps, rows, groups=2).view(len(x), 2, len(weight), -1).transpose(1, 2)


def _blur(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    """x [B, C, H, W] convolved along both axes with kernel, without padding."""
    taps = torch.tensor(kernel, dtype=x.dtype)
    channels = x.shape[1]
    return F.conv2d(x, torch.outer(taps, taps).expand(channels, 1, -1, -1), groups=channels)

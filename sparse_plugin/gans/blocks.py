"""What the networks are made of: layers with their initialisation, conditional normalisation, residual blocks, attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from sparse_plugin.support.subsampling import Subsampling


def scaled(channels: float, width: float) -> int:
    """A number of channels times the width multiplier, to the nearest multiple of 8, which attention divides by; at least 8."""
    return max(8, 8 * round(channels * width / 8))


def xavier(weight: Tensor, gain: float) -> None:
    """Glorot's uniform initialisation."""
    nn.init.xavier_uniform_(weight, gain)


def normal(weight: Tensor, gain: float) -> None:
    """N(0, 0.02), whatever the gain."""
    del gain
    nn.init.normal_(weight, 0.0, 0.02)


def orthogonal(weight: Tensor, gain: float) -> None:
    """An orthogonal matrix, whatever the gain."""
    del gain
    nn.init.orthogonal_(weight)


@dataclass(frozen=True)
class Layers:
    """How a network makes its layers: init(weight, gain), spectral normalisation (with eps), biases of zero or torch's own."""

    init: Callable[[Tensor, float], None] = xavier
    spectral: bool = False
    eps: float = 1e-12
    zero_bias: bool = False

    def conv(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, gain: float = 1.0, bias: bool = True
    ) -> nn.Module:
        """A convolution that keeps the size up to its stride."""
        if kernel == 1 and stride > 1:
            return self._finish(Subsampling(inputs, outputs, stride, bias), gain)
        return self._finish(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=bias), gain)

    def linear(self, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
        """A linear layer."""
        return self._finish(nn.Linear(inputs, outputs, bias=bias), 1.0)

    def embedding(self, classes: int, outputs: int) -> nn.Module:
        """A table of one vector a class."""
        return self._finish(nn.Embedding(classes, outputs), 1.0)

    def _finish(self, layer: nn.Conv2d | nn.Linear | nn.Embedding, gain: float) -> nn.Module:
        self.init(layer.weight, gain)
        bias = getattr(layer, "bias", None)
        if self.zero_bias and bias is not None:
            nn.init.zeros_(bias)
        return spectral_norm(layer, eps=self.eps) if self.spectral else layer


# Makes the normalisation of so many channels: a module that is called with (h, condition).
Norm = Callable[[int], nn.Module]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that takes a condition and does without."""

    def forward(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        """h: (N, C, H, W)."""
        del condition
        return super().forward(h)


class ConditionalNorm(nn.Module):
    """Batch normalisation whose gain and bias depend on a condition: BN(h) (1 + gain(condition)) + bias(condition).

    gain, bias: from what the condition is, class labels (N,) or vectors (N, K), to (N, C).
    """

    def __init__(self, channels: int, gain: nn.Module, bias: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = gain, bias

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h: (N, C, H, W)."""
        gain, bias = self.gain(condition)[:, :, None, None], self.bias(condition)[:, :, None, None]
        return torch.addcmul(bias, self.norm(h), 1 + gain)


class GeneratorBlock(nn.Module):
    """norm, ReLU, upsampling by 2, 3x3; norm, ReLU, 3x3; plus a 1x1 shortcut (SNGAN, appendix B.4).

    upsample: "bilinear" or "nearest".
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, layers: Layers, upsample: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = layers.conv(inputs, outputs, gain=2**0.5)
        self.conv2 = layers.conv(outputs, outputs, gain=2**0.5)
        self.shortcut = layers.conv(inputs, outputs, 1)
        self.upsample = upsample

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """x: (N, inputs, H, W). Returns (N, outputs, 2H, 2W)."""
        h = self.conv1(self._up(F.relu(self.norm1(x, condition), inplace=True)))
        h = self.conv2(F.relu(self.norm2(h, condition), inplace=True))
        # Interpolation commutes with a 1x1 convolution, which costs a quarter before it.
        return cast(Tensor, h + self._up(self.shortcut(x)))

    def _up(self, h: Tensor) -> Tensor:
        if self.upsample == "nearest":
            return F.interpolate(h, scale_factor=2)
        return F.interpolate(h, scale_factor=2, mode=self.upsample, align_corners=False)


class DiscriminatorBlock(nn.Module):
    """[ReLU,] 3x3, ReLU, 3x3, halving; plus a shortcut, 1x1 where the size or the channels change (SNGAN, appendix B.4).

    The first block sees images and does not rectify them. hidden: channels between the convolutions. halve: makes what
    halves the size of so many channels, None where it stays. norm, slope: before each rectification, and its leak.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        layers: Layers,
        *,
        halve: Callable[[int], nn.Module] | None,
        first: bool = False,
        norm: Norm | None = None,
        slope: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = (norm(inputs), norm(hidden)) if norm else (nn.Identity(), nn.Identity())
        self.conv1 = layers.conv(inputs, hidden, gain=2**0.5)
        self.conv2 = layers.conv(hidden, outputs, gain=2**0.5)
        self.halve = halve(outputs) if halve else nn.Identity()
        # A 1x1 convolution commutes with pooling, and costs a quarter after it.
        self.shortcut = nn.Sequential(*([halve(inputs)] if halve else []))
        if inputs != outputs or halve:
            self.shortcut.append(layers.conv(inputs, outputs, 1))
        self.first, self.slope = first, slope

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W). Returns (N, outputs, H, W), or half the height and width."""
        # Not in place: without a normalisation this would rectify what the shortcut sees, too.
        h = self.conv1(x if self.first else F.leaky_relu(self.norm1(x), self.slope))
        h = self.conv2(F.leaky_relu(self.norm2(h), self.slope, inplace=True))
        return cast(Tensor, self.halve(h) + self.shortcut(x))


def average(channels: int) -> nn.Module:
    """Halving by average pooling."""
    del channels
    return nn.AvgPool2d(2)


class Attention(nn.Module):
    """Self-attention over positions, keys and values at half the resolution: x + gain o(attend(x)), gain 0 at first.

    As in BigGAN-PyTorch layers.py and mimicry modules/layers.py, which follow SAGAN's released code, not its paper.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        self.query, self.key = (layers.conv(channels, channels // 8, 1, bias=False) for _ in range(2))
        self.value = layers.conv(channels, channels // 2, 1, bias=False)
        self.output = layers.conv(channels // 2, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W), H and W even. Returns the same shape."""
        query = self.query(x).flatten(2)
        key, value = (F.max_pool2d(of(x), 2).flatten(2) for of in (self.key, self.value))
        weights = torch.bmm(query.transpose(1, 2), key).softmax(-1)  # (N, HW, HW / 4)
        attended = torch.bmm(value, weights.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
        return cast(Tensor, x + self.gain * self.output(attended))

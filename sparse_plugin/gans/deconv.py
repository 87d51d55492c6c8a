"""Networks of strided convolutions, of which DCGAN, cGAN, MSGAN and WGAN-GP are made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _up(inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.ConvTranspose2d:
    """Doubles the size. kernel 5: as TensorFlow's padding "SAME", up to a shift by one pixel."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, kernel % 2, bias=bias)


def _stages(channels: Sequence[int], kernel: int, bias: bool) -> list[nn.Module]:
    """Transposed convolution, normalisation, ReLU, for each step of channels."""
    steps = pairwise(channels)
    return [m for c, d in steps for m in (_up(c, d, kernel, bias), nn.BatchNorm2d(d), nn.ReLU(inplace=True))]


class DeconvGenerator(nn.Module):
    """Noise to a 4x4 map, doubled once a stage; D1 is the last transposed convolution, of stride 2.

    first: from z (and a one-hot label) to 4x4; channels: of the maps.
    """

    def __init__(
        self, first: nn.Module, channels: Sequence[int], kernel: int, classes: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.classes = classes
        self.first = first
        self.stages = nn.Sequential(*_stages(channels, kernel, bias))
        self.synthesis = _up(channels[-1], 3, kernel, bias)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, Z); labels: (N,), where there are classes. Returns images (N, 3, H, W) in [-1, 1]."""
        if labels is not None and self.classes:
            z = torch.cat((z, F.one_hot(labels, self.classes).to(z)), 1)
        return torch.tanh(self.synthesis(self.stages(self.first(z))))


class ConvDiscriminator(nn.Module):
    """The mirror image: strided convolutions, then one logit; labels enter as constant maps beside the image."""

    def __init__(self, layers: nn.Sequential, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.layers = layers

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: (N, 3, H, W); labels: (N,), where there are classes. Returns logits (N,)."""
        if labels is not None and self.classes:
            maps = F.one_hot(labels, self.classes).to(images)[:, :, None, None]
            images = torch.cat((images, maps.expand(-1, -1, *images.shape[2:])), 1)
        logits: Tensor = self.layers(images).flatten()
        return logits

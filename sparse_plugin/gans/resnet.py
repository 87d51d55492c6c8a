"""Residual networks: the generator and discriminator that SNGAN, SAGAN, SSGAN* and BigGAN share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse_plugin.gans.blocks import (
    Attention,
    DiscriminatorBlock,
    GeneratorBlock,
    Layers,
    Norm,
    average,
    scaled,
)
from sparse_plugin.gans.recipes import Recipe


class ResNetGenerator(nn.Module):
    """Noise to a 4x4 map, doubled in size by residual blocks; then BN, ReLU, and D1, a 3x3 convolution.

    channels: of the first map and after each block. attend: the block after which positions attend to each other.
    """

    def __init__(
        self,
        z: int,
        channels: Sequence[int],
        norm: Norm,
        layers: Layers,
        *,
        upsample: str = "nearest",
        attend: int | None = None,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.linear = layers.linear(z, 16 * channels[0])
        self.blocks = nn.ModuleList(GeneratorBlock(c, d, norm, layers, upsample) for c, d in pairwise(channels))
        self.attend = attend
        self.attention = nn.Identity() if attend is None else Attention(channels[attend + 1], layers)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.synthesis = layers.conv(channels[-1], 3)
        self.squash = torch.sigmoid if sigmoid else torch.tanh

    def conditions(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """The noise that the first map is made of, and the condition of each block."""
        return z, [labels] * len(self.blocks)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: (N, Z); labels: (N,), where norm is conditional. Returns images (N, 3, H, W) in [-1, 1], or [0, 1]."""
        z, conditions = self.conditions(z, labels)
        h = self.linear(z).unflatten(1, (-1, 4, 4))
        for index, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition)
            if index == self.attend:
                h = self.attention(h)
        return self.squash(self.synthesis(F.relu(self.norm(h), inplace=True)))


class SumPool(nn.Module):
    """The sum over positions: what a discriminator's linear head and its label embedding both read."""

    def forward(self, h: Tensor) -> Tensor:
        """h: (N, C, H, W). Returns (N, C)."""
        return h.sum((2, 3))


class ResNetDiscriminator(nn.Module):
    """Residual blocks, ReLU, the sum over positions, one logit; plus, with classes, the projection <embedding(label), h>.

    channels: of the image and after each block, of which the first `halved` halve the size. wide: whether a block's hidden
    channels are those of its output, else of its input.
    """

    def __init__(
        self,
        channels: Sequence[int],
        halved: int,
        layers: Layers,
        *,
        wide: bool = False,
        halve: Callable[[int], nn.Module] = average,
        attend: int | None = None,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(
                c, d, d if wide or i == 0 else c, layers, halve=halve if i < halved else None, first=i == 0
            )
            for i, (c, d) in enumerate(pairwise(channels))
        )
        self.attend = attend
        self.attention = nn.Identity() if attend is None else Attention(channels[attend + 1], layers)
        self.rectify, self.pool = nn.ReLU(), SumPool()
        self.linear = layers.linear(channels[-1], 1)
        self.embedding = layers.embedding(classes, channels[-1]) if classes else None

    def features(self, images: Tensor) -> Tensor:
        """The last map, rectified: (N, C, H, W)."""
        h = images
        for index, block in enumerate(self.blocks):
            h = block(h)
            if index == self.attend:
                h = self.attention(h)
        rectified: Tensor = self.rectify(h)
        return rectified

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: (N, 3, H, W); labels: (N,), where there are classes. Returns logits (N,)."""
        h = self.pool(self.features(images))
        logits: Tensor = self.linear(h)[:, 0]
        return logits if self.embedding is None else logits + (self.embedding(labels) * h).sum(1)


# Of SNGAN and SAGAN, channels in units of the base width: of the generator's maps, and of the discriminator's; how many of
# its blocks halve.
_UP = {32: (1, 1, 1, 1), 64: (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16), 128: (1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)}
_DOWN = {
    32: (1 / 2, 1 / 2, 1 / 2, 1 / 2),
    64: (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1),
    128: (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1),
}
HALVED = {32: 2, 64: 5, 128: 5}


def channels(recipe: Recipe, width: float) -> tuple[list[int], list[int]]:
    """Of the maps of G and of D of SNGAN and SAGAN."""
    up = [scaled(recipe.channels * share, width) for share in _UP[recipe.size]]
    return up, [3, *(scaled(recipe.channels * share, width) for share in _DOWN[recipe.size])]

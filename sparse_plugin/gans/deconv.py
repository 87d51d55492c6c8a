"""Networks of strided convolutions: DCGAN, cGAN, MSGAN, WGAN-GP."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparse_plugin.gans.blocks import scaled
from sparse_plugin.gans.recipes import Recipe


def _up(inputs: int, outputs: int, kernel: int, bias: bool = True) -> nn.ConvTranspose2d:
    """Doubles the size. kernel 5: as TensorFlow's padding "SAME", up to a shift by one pixel."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, kernel % 2, bias=bias)


def _stages(channels: Sequence[int], kernel: int, bias: bool) -> list[nn.Module]:
    """Transposed convolution, normalisation, ReLU, for each step of channels."""
    steps = pairwise(channels)
    return [m for c, d in steps for m in (_up(c, d, kernel, bias), nn.BatchNorm2d(d), nn.ReLU(inplace=True))]


class Generator(nn.Module):
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


class Discriminator(nn.Module):
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


def dcgan(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
    """The networks of DCGAN, cGAN and MSGAN. classes: 0 for none.

    At 32 pixels those of MSGAN: 512, 256, 128 channels, Γ of 128x16x16, D1 = ConvTranspose2d(128, 3, 4, 2, 1) (the paper's
    appendix A). At 64, where D starts at 64 channels, those of pytorch/examples.
    """
    stages = {32: 3, 64: 4, 128: 5}[recipe.size]
    bias = recipe.size == 32
    up = [scaled(recipe.channels * 2**i, width) for i in reversed(range(stages))]
    down = up[::-1]
    first = nn.Sequential(
        nn.Unflatten(1, (recipe.z + classes, 1, 1)),
        nn.ConvTranspose2d(recipe.z + classes, up[0], 4, bias=bias),
        nn.BatchNorm2d(up[0]),
        nn.ReLU(),
    )
    layers: list[nn.Module] = [nn.Conv2d(3 + classes, down[0], 4, 2, 1, bias=bias), nn.LeakyReLU(0.2, inplace=True)]
    for c, d in pairwise(down):
        layers += [nn.Conv2d(c, d, 4, 2, 1, bias=bias), nn.BatchNorm2d(d), nn.LeakyReLU(0.2, inplace=True)]
    layers.append(nn.Conv2d(down[-1], 1, 4, bias=bias))
    networks = Generator(first, up, 4, classes, bias), Discriminator(nn.Sequential(*layers), classes)
    for module in (m for network in networks for m in network.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d) and recipe.size > 32:  # as pytorch/examples; MSGAN leaves it at 1
            nn.init.normal_(module.weight, 1.0, 0.02)
    return networks


def wgan_gp(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
    """The networks of WGAN-GP: 5x5 kernels, a linear layer before and after, no normalisation in D."""
    del classes
    up = [scaled(recipe.channels * 2**i, width) for i in reversed(range(3))]
    down = [3, *up[::-1]]
    flat = 16 * up[0]
    first = nn.Sequential(nn.Linear(recipe.z, flat), nn.BatchNorm1d(flat), nn.ReLU(), nn.Unflatten(1, (up[0], 4, 4)))
    layers = [m for c, d in pairwise(down) for m in (nn.Conv2d(c, d, 5, 2, 2), nn.LeakyReLU(0.2, inplace=True))]
    critic = Discriminator(nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 1)))
    networks = Generator(first, up, 5), critic
    for module in (m for network in networks for m in network.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            _he_glorot(module)
    return networks


def _he_glorot(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """U(-s, s), s² = 3 · 4 / (fan in + fan out), half of that for linear layers: tflib/ops of the released code.

    A fan counts the positions that an input or output really meets, which a stride of 2 quarters.
    """
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    fans = sum(layer.weight.shape[:2]) if isinstance(layer, nn.Linear) else _fans(layer)
    bound = (3 * (2 if isinstance(layer, nn.Linear) else 4) / fans) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)


def _fans(layer: nn.Conv2d | nn.ConvTranspose2d) -> float:
    taps, met = layer.kernel_size[0] ** 2, layer.stride[0] ** 2
    many, few = layer.in_channels, layer.out_channels
    if isinstance(layer, nn.ConvTranspose2d):
        many, few = few, many
    return many * taps + few * taps / met

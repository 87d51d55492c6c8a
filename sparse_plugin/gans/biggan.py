"""BigGAN, and what DiffCRBigGAN shares with it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from sparse_plugin.gans.blocks import ConditionalNorm, Layers, normal, orthogonal, scaled
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import CIFAR10, Recipe
from sparse_plugin.gans.resnet import ResNetDiscriminator, ResNetGenerator

BIGGAN = Recipe(
    arch="biggan",
    title="BigGAN",
    source="ajbrock/BigGAN-PyTorch scripts/launch_cifar_ema.sh",
    channels=64,
    conditional=True,
    batch=50,
    discriminator_steps=4,
    joint=True,
    betas=(0.0, 0.999),
    ema=0.9999,
    ema_start=1000,
    batch_statistics=True,
    steps=500 * CIFAR10 // (50 * 4),
)

# Channels in units of the base width: of the generator's maps, and of the discriminator's; how many of its blocks halve.
_UP = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1)}
_DOWN = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16)}
_HALVED = {32: 2, 64: 4, 128: 5}
# Dimensions of the shared class embedding.
_SHARED = 128


class HierarchicalGenerator(ResNetGenerator):
    """Every block is conditioned on a class embedding that all share, and on its own part of the noise (BigGAN, section 3)."""

    def __init__(self, z: int, channels: list[int], layers: Layers, classes: int, attend: int) -> None:
        part = z // len(channels)  # one for the first map, one for each block
        inputs = _SHARED + part

        def norm(channels: int) -> nn.Module:
            gain, bias = (layers.linear(inputs, channels, bias=False) for _ in range(2))
            return ConditionalNorm(channels, gain, bias)

        super().__init__(part, channels, norm, layers, attend=attend)
        # Not spectrally normalised: the released code found that it cripples G.
        self.shared = Layers(layers.init).embedding(classes, _SHARED)

    def conditions(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """z: (N, Z); labels: (N,)."""
        first, *parts = z.chunk(1 + len(self.blocks), 1)
        embedded = self.shared(labels)
        return first, [torch.cat((embedded, part), 1) for part in parts]


def _class_norm(channels: int, classes: int) -> nn.Module:
    embedding = partial(Layers(normal).embedding, classes, channels)
    return ConditionalNorm(channels, embedding(), embedding())


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
    """The networks of BigGAN and DiffCRBigGAN.

    At 32 pixels without attention, hierarchy or shared embedding, initialised from N(0, 0.02), as the released CIFAR
    scripts. Larger ones have all three and are orthogonal, with attention at half the image's size.
    """
    up = [scaled(recipe.channels * many, width) for many in _UP[recipe.size]]
    down = [3, *(scaled(recipe.channels * many, width) for many in _DOWN[recipe.size])]
    generator: nn.Module
    if recipe.size == 32:
        layers = Layers(normal, spectral=True, eps=1e-8)
        generator = ResNetGenerator(recipe.z, up, partial(_class_norm, classes=classes), layers)
        attend = None
    else:
        layers = Layers(orthogonal, spectral=True, eps=1e-6)
        generator = HierarchicalGenerator(recipe.z, up, layers, classes, attend=len(up) - 3)
        attend = 0
    return generator, ResNetDiscriminator(
        down, _HALVED[recipe.size], layers, wide=True, attend=attend, classes=classes
    )


def limited(recipe: Recipe, fraction: float) -> Recipe:
    """The recipe for a share of CIFAR-10, which runs 5000 epochs: data-efficient-gans' *-cifar10-0.2.sh and *-0.1.sh."""
    if recipe.size != 32:
        return recipe
    kind = "DiffAugment-cr-biggan" if recipe.consistency else "biggan"
    return replace(
        recipe,
        source=f"mit-han-lab/data-efficient-gans DiffAugment-biggan-cifar/scripts/{kind}-cifar10-0.*.sh",
        flips=True,
        steps=max(1, round(5000 * CIFAR10 * fraction / (50 * 4))),
    )


GAN = Gan(
    recipes=(
        BIGGAN,
        *(
            replace(
                BIGGAN,
                size=size,
                # Hierarchical noise and a shared embedding, as everywhere but on CIFAR. The script is for 128 pixels.
                source="ajbrock/BigGAN-PyTorch scripts/launch_BigGAN_bs256x8.sh",
                channels=96,
                z=120,
                batch=2048,
                accumulation=8,
                discriminator_steps=1,
                lr_generator=1e-4,
                lr_discriminator=4e-4,
                eps=1e-6,
                ema_start=20_000,
                batch_statistics=False,
                steps=150_000,
            )
            for size in (64, 128)
        ),
    ),
    networks=networks,
    limited=limited,
)

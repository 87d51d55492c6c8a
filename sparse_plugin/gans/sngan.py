"""SNGAN (Miyato et al. 2018)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sparse_plugin.gans.blocks import BatchNorm, Layers
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.gans.resnet import HALVED, ResNetDiscriminator, ResNetGenerator, channels

SNGAN = Recipe(
    arch="sngan",
    title="SNGAN",
    source="kwotsin/mimicry: README, nets/sngan/sngan_32.py",
    channels=256,
    discriminator_steps=5,
    betas=(0.0, 0.9),
    schedule="linear",
    steps=100_000,
)


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
    """The networks of SNGAN: spectral normalisation in D."""
    del classes
    up, down = channels(recipe, width)
    generator = ResNetGenerator(recipe.z, up, BatchNorm, Layers(), upsample="bilinear")
    return generator, ResNetDiscriminator(down, HALVED[recipe.size], Layers(spectral=True))


GAN = Gan(
    recipes=(
        SNGAN,
        replace(SNGAN, size=64, source="kwotsin/mimicry: README (CelebA), nets/sngan/sngan_64.py", channels=1024),
        replace(
            SNGAN,
            size=128,
            source="kwotsin/mimicry: README (CelebA), nets/sngan/sngan_128.py",
            channels=1024,
            discriminator_steps=2,
            schedule="constant",
        ),
    ),
    networks=networks,
)

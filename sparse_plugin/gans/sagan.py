"""SAGAN (Zhang et al. 2019)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sparse_plugin.gans.blocks import ConditionalNorm, Layers
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.gans.resnet import HALVED, ResNetDiscriminator, ResNetGenerator, channels

SAGAN = Recipe(
    arch="sagan",
    title="SAGAN",
    # mimicry has the network at this size but no hyperparameters for it; StudioGAN has both, the same ResNet.
    source="kwotsin/mimicry nets/sagan/sagan_32.py; POSTECH-CVLab/PyTorch-StudioGAN configs/CIFAR10/SAGAN.yaml",
    channels=256,
    conditional=True,
    discriminator_steps=5,
    eps=1e-6,
    flips=True,
    steps=100_000,
)


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
    """The networks of SAGAN: spectral normalisation in both, attention, class labels in G's norms and D's projection.

    Attention stands where mimicry has it: at 16x16 in G and 8x8 in D for 32 pixels, at 32x32 in both for larger images.
    """
    up, down = channels(recipe, width)
    layers = Layers(spectral=True)

    def norm(many: int) -> nn.Module:
        gain, bias = nn.Embedding(classes, many), nn.Embedding(classes, many)
        nn.init.normal_(gain.weight, 0.0, 0.02)
        nn.init.zeros_(bias.weight)
        return ConditionalNorm(many, gain, bias)

    in_g, in_d = {32: (1, 1), 64: (2, 0), 128: (2, 1)}[recipe.size]
    generator = ResNetGenerator(recipe.z, up, norm, layers, upsample="bilinear", attend=in_g)
    return generator, ResNetDiscriminator(down, HALVED[recipe.size], layers, attend=in_d, classes=classes)


GAN = Gan(
    recipes=(
        SAGAN,
        replace(
            SAGAN,
            size=64,
            # No released ResNet has this size: mimicry's SNGAN-64 with attention at 32x32, as its SAGAN-128.
            source="kwotsin/mimicry nets/sagan/sagan_128.py, one block less; heykeetae/Self-Attention-GAN parameter.py",
            channels=1024,
            discriminator_steps=1,
            lr_generator=1e-4,
            lr_discriminator=4e-4,
            betas=(0.0, 0.9),
            eps=1e-8,
            steps=1_000_000,
        ),
        replace(
            SAGAN,
            size=128,
            source="kwotsin/mimicry nets/sagan/sagan_128.py; POSTECH-CVLab/PyTorch-StudioGAN configs/ImageNet/SAGAN.yaml",
            channels=1024,
            batch=256,
            discriminator_steps=1,
            lr_generator=1e-4,
            lr_discriminator=4e-4,
            betas=(0.0, 0.999),
            steps=1_000_000,
        ),
    ),
    networks=networks,
)

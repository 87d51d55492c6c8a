"""DiffCRBigGAN: BigGAN with differentiable augmentation (Zhao et al. 2020) and consistency (Zhang et al. 2020)."""

from __future__ import annotations

from dataclasses import replace

from sparse_plugin.gans import biggan
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import CIFAR10, Recipe

DIFFCRBIGGAN = replace(
    biggan.BIGGAN,
    arch="diffcrbiggan",
    title="DiffCRBigGAN",
    source="mit-han-lab/data-efficient-gans DiffAugment-biggan-cifar/scripts/DiffAugment-cr-biggan-cifar10.sh",
    augment=("cutout",),
    consistency=10.0,
    consistency_augment=("flip", "translation"),
    flips=True,
    steps=1000 * CIFAR10 // (50 * 4),
)


def limited(recipe: Recipe, fraction: float) -> Recipe:
    """The recipe for a share of CIFAR-10: consistency is asked for against the real batch as it is."""
    return replace(biggan.limited(recipe, fraction), augment=("translation", "cutout"), consistency_augment=())


GAN = Gan(recipes=(DIFFCRBIGGAN,), networks=biggan.networks, limited=limited)

"""cGAN: DCGAN with class labels."""

from __future__ import annotations

from sparse_plugin.gans.dcgan import networks
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import CIFAR10, Recipe

CGAN = Recipe(
    arch="cgan",
    title="cGAN",
    # The conditional DCGAN that mode seeking is measured against: the same code without its term.
    source="HelenMao/MSGAN DCGAN-Mode-Seeking, without the mode-seeking term",
    channels=128,
    z=100,
    conditional=True,
    loss="bce",
    batch=32,
    shared_fakes=True,
    weight_decay=1e-4,
    steps=200 * (CIFAR10 // 32),
)

GAN = Gan(recipes=(CGAN,), networks=networks, small=(0.5, 3000))

"""WGAN-GP (Gulrajani et al. 2017)."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from sparse_plugin.gans.blocks import scaled
from sparse_plugin.gans.deconv import ConvDiscriminator, DeconvGenerator
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import Recipe

WGAN_GP = Recipe(
    arch="wgan_gp",
    title="WGAN-GP",
    # The authors' unconditional CIFAR-10 script. Their ResNet script is conditional by default (AC-GAN), and the ports of
    # it are other networks; this one has the head of the paper's appendix A up to its 5x5 kernel, and is the cheapest.
    source="igul222/improved_wgan_training gan_cifar.py",
    channels=128,
    loss="wasserstein",
    gradient_penalty=10.0,
    discriminator_steps=5,
    lr_generator=1e-4,
    lr_discriminator=1e-4,
    betas=(0.5, 0.9),
    steps=200_000,
    batch_statistics=True,
)


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
    """The networks of WGAN-GP: 5x5 kernels, a linear layer before and after, no normalisation in D."""
    del classes
    up = [scaled(recipe.channels * 2**i, width) for i in reversed(range(3))]
    down = [3, *up[::-1]]
    flat = 16 * up[0]
    first = nn.Sequential(nn.Linear(recipe.z, flat), nn.BatchNorm1d(flat), nn.ReLU(), nn.Unflatten(1, (up[0], 4, 4)))
    layers = [m for c, d in pairwise(down) for m in (nn.Conv2d(c, d, 5, 2, 2), nn.LeakyReLU(0.2, inplace=True))]
    critic = ConvDiscriminator(nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 1)))
    made = DeconvGenerator(first, up, 5), critic
    for module in (m for network in made for m in network.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            _he_glorot(module)
    return made


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


GAN = Gan(recipes=(WGAN_GP,), networks=networks, small=(0.5, 3000))

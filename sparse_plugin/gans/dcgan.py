"""DCGAN, and the networks that cGAN and MSGAN share with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from torch import nn

from sparse_plugin.gans.blocks import scaled
from sparse_plugin.gans.deconv import ConvDiscriminator, DeconvGenerator
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.recipes import CIFAR10, Recipe

DCGAN = Recipe(
    arch="dcgan",
    title="DCGAN",
    # The paper's appendix A shows a head of 128 atoms of 4x4x3, which among the released codes only HelenMao/MSGAN's
    # network has; rates, loss and one shared forward pass are those of pytorch/examples dcgan/main.py. 200 epochs as
    # csinva's port of it to CIFAR-10.
    source="HelenMao/MSGAN DCGAN-Mode-Seeking/networks.py without labels; pytorch/examples dcgan/main.py",
    channels=128,
    z=100,
    loss="bce",
    shared_fakes=True,
    steps=200 * (CIFAR10 // 64),
)


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module, nn.Module]:
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
    made = DeconvGenerator(first, up, 4, classes, bias), ConvDiscriminator(nn.Sequential(*layers), classes)
    for module in (m for network in made for m in network.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d) and recipe.size > 32:  # as pytorch/examples; MSGAN leaves it at 1
            nn.init.normal_(module.weight, 1.0, 0.02)
    return made


GAN = Gan(
    recipes=(
        DCGAN,
        replace(
            DCGAN,
            size=64,
            # The script itself, whose network is for 64 pixels. Its 25 epochs are of a data set it leaves open.
            source="pytorch/examples dcgan/main.py",
            channels=64,
            steps=100_000,
        ),
        replace(DCGAN, size=128, source="pytorch/examples dcgan/main.py, one stage more", channels=64, steps=100_000),
    ),
    networks=networks,
    small=(0.5, 3000),
)

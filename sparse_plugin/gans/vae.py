"""A convolutional variational autoencoder: no GAN, but a generator whose decoder hands Γ to a convolutional dictionary.

It is trained alone, by its own encoder, so that what sparsity does to Γ or to the latent code is not mixed with what it does to a
game of two networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.gans.blocks import scaled
from sparse_plugin.gans.gan import Gan
from sparse_plugin.gans.objectives import Batch, Networks, Objective, Role, Update, noise
from sparse_plugin.gans.recipes import CIFAR10, Recipe

# The latent code is a map of so many pixels a side.
_SIDE = 4


@dataclass(frozen=True)
class VaeRecipe(Recipe):
    """divergence: the weight of the Kullback-Leibler divergence, 1 for the evidence lower bound itself."""

    divergence: float = 1.0


class Vae(nn.Module):
    """Encoder and decoder. The latent code (N, Z) is a map of Z/16 channels, 4 pixels a side: what `first` takes.

    Γ is what `synthesis`, the last transposed convolution, takes, behind a ReLU.
    """

    def __init__(self, z: int, channels: list[int]) -> None:
        super().__init__()
        maps = z // _SIDE**2
        down = channels[::-1]
        layers: list[nn.Module] = []
        for c, d in pairwise([3, *down]):
            layers += [nn.Conv2d(c, d, 4, 2, 1), nn.BatchNorm2d(d), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(down[-1], 2 * maps, 3, 1, 1))
        self.first = nn.ConvTranspose2d(maps, channels[0], 3, 1, 1)
        stages: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)]
        for c, d in pairwise(channels):
            stages += [nn.ConvTranspose2d(c, d, 4, 2, 1), nn.BatchNorm2d(d), nn.ReLU(inplace=True)]
        self.stages = nn.Sequential(*stages)
        self.synthesis = nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the code of images (N, 3, H, W): (N, Z) each."""
        mean, variance = self.encoder(images).chunk(2, 1)
        return mean.flatten(1), variance.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """z: (N, Z). Returns images (N, 3, H, W) in [-1, 1]."""
        return torch.tanh(self.synthesis(self.stages(self.first(z.reshape(len(z), -1, _SIDE, _SIDE)))))

    def forward(self, z: Tensor, labels: Tensor | None = None, images: Tensor | None = None) -> Any:
        """The images of a code z (N, Z).

        images: where they are given, z is the noise of their code instead; returned are their reconstructions, and mean and
        logarithm of the variance of their codes.
        """
        del labels
        if images is None:
            return self.decode(z)
        mean, variance = self.encode(images)
        return self.decode(mean + (0.5 * variance).exp() * z), mean, variance


class EvidenceLowerBound(Objective):
    """The negative evidence lower bound of an image, with normally distributed pixels whose variance is the best for the batch
    (Rybkin, Daniilidis, Levine 2021, arXiv 2006.13202, equation 6): no weight between its two terms is left to be guessed.
    """

    @property
    def updates(self) -> tuple[Update, ...]:
        """One, of encoder and decoder together."""
        return (Update("generator", 0, 0),)

    def terms(self, role: Role, networks: Networks, real: Batch, progress: float) -> dict[str, Tensor]:
        """In nats a pixel value."""
        del role, progress
        assert isinstance(self.recipe, VaeRecipe)
        z = noise(self.recipe, len(real.images), real.images.device)
        made, mean, variance = networks.generator(z, None, real.images)
        error = (made.float() - real.images.float()).square().mean()
        mean, variance = mean.float(), variance.float()
        divergence = 0.5 * (mean.square() + variance.exp() - 1 - variance).sum(1).mean() / real.images[0].numel()
        return {
            "reconstruction": 0.5 * (error.log() + math.log(2 * math.pi) + 1),
            "divergence": self.recipe.divergence * divergence,
        }


def reconstruct(generator: nn.Module, images: Tensor) -> Tensor:
    """What comes back of images (N, 3, H, W) from the mean of their code."""
    assert isinstance(generator, Vae)
    made: Tensor = generator.decode(generator.encode(images)[0])
    return made


def networks(recipe: Recipe, width: float, classes: int) -> tuple[nn.Module]:
    """The decoder is DCGAN's behind the map of the code: 512, 256, 128 channels, Γ of 128x16x16, D1 =
    ConvTranspose2d(128, 3, 4, 2, 1); the encoder is its mirror image.
    """
    del classes
    return (Vae(recipe.z, [scaled(recipe.channels * factor, width) for factor in (4, 2, 1)]),)


VAE = VaeRecipe(
    arch="vae",
    title="VAE",
    source="Kingma and Welling 2014, with DCGAN's layers and the variance of arXiv 2006.13202",
    channels=128,
    z=256,
    steps=100 * (CIFAR10 // 64),
    lr_generator=1e-3,
    betas=(0.9, 0.999),
)

GAN = Gan(recipes=(VAE,), networks=networks, objective=EvidenceLowerBound, reconstruct=reconstruct, small=(0.25, 5000))

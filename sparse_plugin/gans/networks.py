"""Building the networks of an architecture by its name."""

from __future__ import annotations

import torch
from torch import nn

from sparse_plugin.gans import biggan, deconv, resnet, ssgan
from sparse_plugin.gans.games import Game, Networks
from sparse_plugin.gans.recipes import Recipe

_BUILDERS = {
    "dcgan": deconv.dcgan,
    "cgan": deconv.dcgan,
    "msgan": deconv.dcgan,
    "wgan_gp": deconv.wgan_gp,
    "sngan": resnet.sngan,
    "sagan": resnet.sagan,
    "ssgan": ssgan.networks,
    "biggan": biggan.networks,
    "diffcrbiggan": biggan.networks,
}


def build(recipe: Recipe, width: float = 1.0, classes: int = 0) -> Networks:
    """The networks of a recipe, freshly initialised from torch's random state.

    width: multiplies all channels, which come out as multiples of 8. classes: how many the labels have, where the recipe
    is conditional. G is called with z (N, recipe.z) and labels (N,) or None, and returns images (N, 3, size, size).
    """
    made: tuple[nn.Module, ...] = _BUILDERS[recipe.arch](recipe, width, classes if recipe.conditional else 0)
    # Channels last is the faster memory format: by a quarter for the residual networks on a CPU.
    return Networks(*(network.to(memory_format=torch.channels_last) for network in made))


def game(recipe: Recipe, classes: int, keep: bool) -> Game:
    """The game that a recipe plays; the arguments are those of `Game`."""
    return (ssgan.MultiClassGame if recipe.minimax else Game)(recipe, classes if recipe.conditional else 0, keep)

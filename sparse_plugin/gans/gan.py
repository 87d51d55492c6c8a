"""A GAN as it is registered: its recipes, its networks, what they minimise.

The built-in ones come in through entry points of the group `sparse_plugin.gans`, as any installed package's may, or are
registered in the running process by a file that `--import` names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, one_of, shown
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.support.plugins import Plugins, called_from

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sparse_plugin.gans.objectives import Networks, Objective

# The rows of the paper's Table 1, in its order. What else is registered comes after them, by name.
_PAPER = ("dcgan", "cgan", "wgan_gp", "msgan", "sngan", "sagan", "ssgan", "biggan", "diffcrbiggan")


@dataclass(frozen=True)
class Gan:
    """One GAN.

    recipes: one for each size of images; all of one `arch`, which is the GAN's name. Of a class derived from `Recipe`, a
    frozen dataclass, where it has hyperparameters of its own.
    networks: called with a recipe, the factor of all channels and the number of classes (0 for an unconditional recipe).
    Returns freshly initialised G and D, or G, D and an encoder, or G alone where its objective updates no other. G is called
    with z (N, recipe.z) and labels (N,) or None, and returns images (N, 3, size, size) in [recipe.low, 1]; D with images and
    labels, and returns logits (N,), or what the objective makes something of.
    objective: a class derived from `Objective`, or what else is called with a recipe, the number of classes and whether
    graphs may be kept; by default `Objective` itself, G against D with the losses that the recipe names.
    small: width and steps of its runs in tables at the small scale, for two cores without a GPU.
    limited: the recipe for a share of the data below 1, made of the one for all of them; by default the same.
    reconstruct: of an autoencoder, what comes back of images: called with G and images (N, 3, size, size) in [recipe.low, 1],
    of which it returns as many. Runs are then measured by it too.

    Raises ConfigError for recipes of several names, or two of one size.
    """

    recipes: tuple[Recipe, ...]
    networks: Callable[[Recipe, float, int], tuple[nn.Module, ...]]
    objective: Callable[[Recipe, int, bool], Objective] | None = None
    limited: Callable[[Recipe, float], Recipe] | None = None
    small: tuple[float, int] = (0.125, 1500)
    reconstruct: Callable[[nn.Module, Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if not self.recipes or not all(isinstance(recipe, Recipe) for recipe in self.recipes):
            raise ConfigError(f"the recipes of a GAN are {shown(self.recipes)}; give one or more Recipes, one a size")
        names = list(dict.fromkeys(recipe.arch for recipe in self.recipes))
        sizes = [recipe.size for recipe in self.recipes]
        if len(names) > 1 or len(set(sizes)) < len(sizes):
            raise ConfigError(
                f"the recipes of a GAN are of {', '.join(map(shown, names))} for {', '.join(map(str, sizes))} pixels; give "
                "recipes of one arch, each for another size"
            )

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.recipes[0].arch


GANS: Plugins[Any] = Plugins("gan", ("recipes", "networks", "objective", "limited"), "a Gan")


def register_gan(made: Gan) -> Gan:
    """Register a GAN under its name in this process. Raises ConfigError where another owner has the name."""
    if not isinstance(made, Gan):
        raise ConfigError(f"{shown(made)} cannot be registered as a GAN: give a Gan")
    GANS.register(made.name, made, called_from())
    return made


def architectures() -> tuple[str, ...]:
    """The names of all GANs that are registered: the paper's in its order, then others; none of them is loaded."""
    there = GANS.all()
    return (*(name for name in _PAPER if name in there), *(name for name in there if name not in _PAPER))


def gan(arch: str) -> Gan:
    """The GAN called arch. Raises ConfigError for an unknown name, or one whose package does not load."""
    if arch not in GANS.all():
        raise ConfigError(one_of("architecture", arch, GANS.all()))
    found: Gan = GANS.get(arch)
    if found.name != arch:
        raise ConfigError(f"{GANS.described(arch)} has recipes of {shown(found.name)}; give them the arch {arch!r}")
    return found


def recipe(arch: str, size: int = 32, fraction: float = 1.0) -> Recipe:
    """The recipe of an architecture for images of size x size pixels.

    fraction: the share of the data that there is, in (0, 1]; below 1, a GAN may have another recipe for it.
    Raises ConfigError for what there is not, with what there is.
    """
    asked = gan(arch)
    for found in asked.recipes:
        if found.size == size:
            return found if fraction >= 1 or asked.limited is None else asked.limited(found, fraction)
    there = " and ".join(str(found.size) for found in asked.recipes)
    sizes = {name: [found.size for found in other.recipes] for name, other in _usable()}
    others = ", ".join(name for name in architectures() if size in sizes.get(name, ()))
    known = sorted({known for of in sizes.values() for known in of})
    raise ConfigError(
        f"{arch} is there for {there} pixels, and {size} were asked for; "
        + (f"{others} are there for {size}" if others else f"sizes are {', '.join(map(str, known[:-1]))} and {known[-1]}")
    )


def _usable() -> list[tuple[str, Gan]]:
    return [(name, found) for name, found in GANS.usable() if found.name == name]


def build(recipe: Recipe, width: float = 1.0, classes: int = 0) -> Networks:
    """The networks of a recipe, freshly initialised from torch's random state.

    width: multiplies all channels, which come out as multiples of 8. classes: how many the labels have, where the recipe
    is conditional. Raises ConfigError where the GAN makes no one to three modules.
    """
    import torch
    from torch import nn

    from sparse_plugin.gans.objectives import Networks

    made = gan(recipe.arch).networks(recipe, width, classes if recipe.conditional else 0)
    if not 1 <= len(made) <= 3 or not all(isinstance(network, nn.Module) for network in made):
        raise ConfigError(
            f"the networks of {recipe.arch} are {shown([type(network).__name__ for network in made])}; return a generator, "
            "a discriminator where there is one, and an encoder where there is one"
        )
    # Channels last is the faster memory format: by a quarter for the residual networks on a CPU.
    return Networks(*(network.to(memory_format=torch.channels_last) for network in made))


def objective_of(recipe: Recipe, classes: int, keep: bool) -> Objective:
    """What a recipe's networks minimise; the arguments are those of `Objective`."""
    from sparse_plugin.gans.objectives import Objective

    return (gan(recipe.arch).objective or Objective)(recipe, classes if recipe.conditional else 0, keep)

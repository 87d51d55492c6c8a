"""Recipes: the hyperparameters of a GAN for images of one size, with their source.

Batch sizes, steps and learning rates of the built-in ones are those of the sources for CIFAR-10 (32 pixels), CelebA or
ImageNet (64, 128); where released codes differ, the source says which one was taken. A step is one update of the generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Images of CIFAR-10's training set, by which its sources count epochs.
CIFAR10 = 50_000


@dataclass(frozen=True)
class MultiClassMinimax:
    """The weights of SSGAN*'s losses (see `ssgan`).

    discriminator, generator: of the classification of rotations; penalty: of the gradient penalty; reconstructed: the
    share of reconstructed images among those taken as real, in the first half of training; latent: of the data-latent
    distance in the encoder's loss.
    """

    discriminator: float = 0.5
    generator: float = 0.1
    penalty: float = 0.5
    reconstructed: float = 0.05
    latent: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How one GAN is trained on images of one size.

    arch, title: the name to ask for, and the one in the paper's tables. source: where the numbers come from. channels: the
    network's base width at width 1. z, noise: dimensions and distribution of the noise, N(0, 1) or U(-1, 1). conditional:
    whether G and D take class labels. low: images lie in [low, 1], -1 behind tanh and 0 behind a sigmoid.

    loss: of D's logits. gradient_penalty, mode_seeking, consistency: the weights of these terms, 0 for none. augment,
    consistency_augment: policies of `augment`. minimax: the weights of SSGAN*'s objective, which has losses of its own.

    batch: images in an update of D, over all processes and accumulated passes. accumulation: passes to one update.
    discriminator_steps: updates of D to one of G. shared_fakes: D and G are updated on the same batch and the same fakes,
    of one forward pass of G. joint: real and generated images pass through D as one batch. flips: horizontal, at random.

    lr_generator, lr_discriminator, betas, eps, weight_decay: of Adam. schedule: of the learning rate after the share t of
    all steps, "constant", "linear" (1 - t), or "late" (min(1 - t, 1/2)). ema, ema_start: decay of the averaged generator, 0
    for none, and the step at which averaging begins. batch_statistics: samples are normalised by their own batch, as
    where the released code evaluates without switching G to evaluation mode.
    """

    arch: str
    title: str
    source: str
    channels: int
    steps: int
    size: int = 32
    z: int = 128
    noise: Literal["normal", "uniform"] = "normal"
    conditional: bool = False
    low: Literal[-1, 0] = -1
    loss: Literal["bce", "hinge", "wasserstein"] = "hinge"
    gradient_penalty: float = 0.0
    mode_seeking: float = 0.0
    consistency: float = 0.0
    augment: tuple[str, ...] = ()
    consistency_augment: tuple[str, ...] = ()
    minimax: MultiClassMinimax | None = None
    batch: int = 64
    accumulation: int = 1
    discriminator_steps: int = 1
    shared_fakes: bool = False
    joint: bool = False
    flips: bool = False
    lr_generator: float = 2e-4
    lr_discriminator: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: Literal["constant", "linear", "late"] = "constant"
    ema: float = 0.0
    ema_start: int = 0
    batch_statistics: bool = False

    def rate(self, step: int, steps: int) -> float:
        """The factor of the learning rate in a step, the first of which is 0."""
        left = 1 - step / steps
        return {"constant": 1.0, "linear": left, "late": min(left, 0.5)}[self.schedule]

"""Objectives: which networks are updated in a step, in which order, on what, and what each minimises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparse_plugin.gans import losses
from sparse_plugin.gans.augment import augment
from sparse_plugin.gans.recipes import Recipe

Role = Literal["generator", "discriminator", "encoder"]


class Batch(NamedTuple):
    """Images (N, 3, H, W) in the recipe's range, and labels (N,), or None."""

    images: Tensor
    labels: Tensor | None


class Fakes(NamedTuple):
    """Generated images (N, 3, H, W), the noise (N, Z) and labels (N,) that they were made from."""

    images: Tensor
    z: Tensor
    labels: Tensor | None


class Update(NamedTuple):
    """One update: of which network, on which real batch of the step, and with which random draws of the step."""

    role: Role
    batch: int
    draw: int


@dataclass(frozen=True)
class Networks:
    """The networks of a GAN; the one that is updated may be wrapped for data parallelism.

    discriminator: without parameters where G is trained alone.
    """

    generator: nn.Module
    discriminator: nn.Module = field(default_factory=nn.Identity)
    encoder: nn.Module | None = None


def noise(recipe: Recipe, count: int, device: torch.device, source: torch.Generator | None = None) -> Tensor:
    """(count, recipe.z), from source or else from torch's random state."""
    draw = torch.rand if recipe.noise == "uniform" else torch.randn
    z = draw(count, recipe.z, device=device, generator=source)
    return z * 2 - 1 if recipe.noise == "uniform" else z


class Objective:
    """G against D, by the losses and terms that the recipe names. Derive from it for an objective of another kind.

    classes: how many, 0 where the GAN is unconditional. keep: with `shared_fakes`, whether the graph of the fakes is kept
    from D's update to G's; otherwise they are computed again, from the same noise.
    """

    def __init__(self, recipe: Recipe, classes: int, keep: bool) -> None:
        self.recipe, self.classes = recipe, classes
        self.keep = keep and recipe.shared_fakes
        self._kept: Fakes | None = None

    @property
    def updates(self) -> tuple[Update, ...]:
        """The updates of a step. Two with the same batch and draw see the same images and the same noise."""
        steps = self.recipe.discriminator_steps
        last = steps - 1 if self.recipe.shared_fakes else steps
        return (*(Update("discriminator", i, i) for i in range(steps)), Update("generator", steps - 1, last))

    def terms(self, role: Role, networks: Networks, real: Batch, progress: float) -> dict[str, Tensor]:
        """The weighted terms, by name, whose sum role minimises. progress: the share of all steps done, in [0, 1)."""
        del progress
        return self._discriminator(networks, real) if role == "discriminator" else self._generator(networks, real)

    def _fakes(self, generator: nn.Module, real: Batch, graph: bool) -> Fakes:
        """As many fakes as real images, or twice as many: with mode seeking each label has two."""
        count, device = len(real.images), real.images.device
        many = 2 if self.recipe.mode_seeking else 1
        z = noise(self.recipe, many * count, device)
        labels = None
        if self.classes and self.recipe.shared_fakes:
            assert real.labels is not None
            labels = real.labels.repeat(many)
        elif self.classes:
            labels = torch.randint(self.classes, (many * count,), device=device)
        with torch.set_grad_enabled(graph):
            return Fakes(generator(z, labels), z, labels)

    def _halves(self, fakes: Fakes) -> list[Batch]:
        """With mode seeking, the fakes of the first noise and those of the second; else all of them."""
        many = 2 if self.recipe.mode_seeking else 1
        labels = (None,) * many if fakes.labels is None else fakes.labels.chunk(many)
        return [Batch(*pair) for pair in zip(fakes.images.chunk(many), labels, strict=True)]

    def _judge(self, discriminator: nn.Module, views: Sequence[Batch]) -> list[Tensor]:
        """The logits of each batch. One by one, a normalisation in D sees real and generated images apart."""
        if not self.recipe.joint:
            return [discriminator(*view) for view in views]
        labels = None if views[0].labels is None else torch.cat([v.labels for v in views if v.labels is not None])
        logits: Tensor = discriminator(torch.cat([view.images for view in views]), labels)
        return list(logits.chunk(len(views)))

    def _discriminator(self, networks: Networks, real: Batch) -> dict[str, Tensor]:
        recipe = self.recipe
        fakes = self._fakes(networks.generator, real, graph=self.keep)
        self._kept = fakes if self.keep else None
        halves = self._halves(fakes)
        seen = Batch(augment(real.images, recipe.augment), real.labels)
        views = [seen, *(Batch(augment(half.images.detach(), recipe.augment), half.labels) for half in halves)]
        if recipe.consistency:
            other = augment(seen.images, recipe.consistency_augment) if recipe.consistency_augment else real.images
            views.append(Batch(other, real.labels))
        logits = self._judge(networks.discriminator, views)
        fake = logits[1 : 1 + len(halves)]
        terms = {"adversarial": torch.stack([losses.discriminator_loss(recipe.loss, logits[0], f) for f in fake]).sum()}
        if recipe.consistency:
            terms["consistency"] = recipe.consistency * losses.consistency(logits[0], logits[-1])
        if recipe.gradient_penalty:
            norms = losses.gradient_norms(networks.discriminator, real.images, fakes.images)
            terms["gradient_penalty"] = recipe.gradient_penalty * losses.gradient_penalty(norms)
        return terms

    def _generator(self, networks: Networks, real: Batch) -> dict[str, Tensor]:
        recipe = self.recipe
        fakes, self._kept = self._kept or self._fakes(networks.generator, real, graph=True), None
        halves = self._halves(fakes)
        logits = self._judge(
            networks.discriminator, [Batch(augment(half.images, recipe.augment), half.labels) for half in halves]
        )
        terms = {"adversarial": torch.stack([losses.generator_loss(recipe.loss, each) for each in logits]).sum()}
        if recipe.mode_seeking:
            first, second = (half.images for half in halves)
            pair = fakes.z.chunk(2)
            terms["mode_seeking"] = recipe.mode_seeking * losses.mode_seeking((first, second), (pair[0], pair[1]))
        return terms

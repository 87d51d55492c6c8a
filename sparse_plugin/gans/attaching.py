"""What is attached to the networks of a GAN before they are trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparse_plugin.attachment.attach import regularize
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.errors import ConfigError
from sparse_plugin.gans.gan import build
from sparse_plugin.gans.objectives import Networks, Role, noise
from sparse_plugin.runs.seeds import key

if TYPE_CHECKING:
    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.config import SparsityConfig
    from sparse_plugin.gans.recipes import Recipe


def attach(
    made: Networks,
    sparse: SparsityConfig | None,
    recipe: Recipe,
    *,
    classes: int = 0,
    seed: int = 0,
    accumulation: int = 1,
    run_dir: str | None = None,
) -> dict[Role, Attachment]:
    """Attach every part of sparse to the network of its role. Raises ConfigError where there is none, and what `attach` does."""
    found: dict[Role, Attachment] = {}
    for part in [] if sparse is None else sparse.parts():
        network = made.generator if part.role == "generator" else made.discriminator
        if next(network.parameters(), None) is None:
            raise ConfigError(f"role is {part.role}, and {recipe.arch} has none; leave it out")
        example, labels = inputs(recipe, classes, seed, 2, next(network.parameters()).device)
        if part.role == "discriminator":
            source = torch.Generator().manual_seed(key("example", seed))
            example = torch.randn(2, 3, recipe.size, recipe.size, generator=source).to(example.device)
        plan = replace(
            Plan.of(part),
            delivery=part.delivery or "loss",  # exact under scaling, accumulation and data parallelism
            accumulation=accumulation,
            run_dir=run_dir,
        )
        found[part.role] = regularize(network, plan, example_input=(example, labels))
    return found


def check(recipe: Recipe, sparse: SparsityConfig, width: float, classes: int) -> None:
    """Raise what `attach` would to networks of this width: of a site that is not there, say, or a k of no coefficient."""
    with torch.random.fork_rng(devices=[]):  # all of it is on the CPU
        attach(build(recipe, width, classes), sparse, recipe, classes=classes)


def inputs(recipe: Recipe, classes: int, seed: int, count: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Inputs of G that are the same in all processes and at all times, every class in turn."""
    source = torch.Generator().manual_seed(key("example", seed))
    z = noise(recipe, count, torch.device("cpu"), source).to(device)
    return z, torch.arange(count, device=device) % classes if classes else None

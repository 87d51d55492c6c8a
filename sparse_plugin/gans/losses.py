"""The terms that generators and discriminators minimise, as functions of logits and images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Literal["bce", "hinge", "wasserstein"]


def discriminator_loss(kind: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """What D minimises; real, fake: logits (N,). Returns a scalar.

    bce: E softplus(-r) + E softplus(f), the cross entropy of σ(r) with 1 and of σ(f) with 0 (Goodfellow et al. 2014).
    hinge: E max(0, 1 - r) + E max(0, 1 + f) (Miyato et al. 2018, (16)). wasserstein: E f - E r.
    """
    real, fake = real.float(), fake.float()
    if kind == "bce":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return fake.mean() - real.mean()


def generator_loss(kind: Loss, fake: Tensor) -> Tensor:
    """What G minimises; fake: logits (N,). bce: E softplus(-f), the non-saturating loss; else -E f. Returns a scalar."""
    fake = fake.float()
    return F.softplus(-fake).mean() if kind == "bce" else -fake.mean()


def gradient_norms(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mean: bool = False) -> Tensor:
    """‖∇D(x̃)‖₂ at x̃ = x + α (x̂ - x), α ~ U[0, 1] a sample (Gulrajani et al. 2017, algorithm 1), with its graph.

    real, fake: (N, 3, H, W). mean: the root of the mean over pixels, where the norm is that of the sum. Returns (N,).
    In float32 under autocast: a second derivative in half precision is mostly rounding.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = real.float(), fake.detach().float()
        mixed = torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1, device=real.device)).requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(mixed).sum(), mixed, create_graph=True)
        squares = slope.square().flatten(1)
        return (squares.mean(1) if mean else squares.sum(1)).sqrt()


def gradient_penalty(norms: Tensor) -> Tensor:
    """E (‖∇D‖ - 1)² of norms (N,) (Gulrajani et al. 2017, (3)). Returns a scalar."""
    return (norms - 1).square().mean()


def mode_seeking(images: tuple[Tensor, Tensor], noise: tuple[Tensor, Tensor]) -> Tensor:
    """1 / (E|G(z₂, y) - G(z₁, y)| / E|z₂ - z₁| + 10⁻⁵), means over all elements (Mao et al. 2019, (4)).

    images: (N, 3, H, W) each, of the same labels; noise: (N, Z) each. Returns a scalar. The paper maximises the ratio; the
    released code minimises its inverse, which is what this is.
    """
    ratio = (images[1] - images[0]).float().abs().mean() / (noise[1] - noise[0]).abs().mean()
    return 1 / (ratio + 1e-5)


def consistency(logits: Tensor, other: Tensor) -> Tensor:
    """E (D(T'(x)) - D(x))² for logits (N,) of the same images in two views (Zhang et al. 2020, (5)). Returns a scalar."""
    return (other.float() - logits.float()).square().mean()

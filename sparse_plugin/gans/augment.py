"""Differentiable augmentation: the policies of DiffAugment (Zhao et al. 2020) that the CIFAR recipes use."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def flip(images: Tensor) -> Tensor:
    """Mirror each image with probability 1/2. images: (N, C, H, W), of any type."""
    turn = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(turn, images.flip(3), images)


def translate(images: Tensor) -> Tensor:
    """Shift each image by up to an eighth of its sides, in whole pixels, zeros coming in. images: (N, C, H, W)."""
    n, _, height, width = images.shape
    rows, columns = (
        _positions(n, side, images.device) - _integers(n, -round(side / 8), round(side / 8), images.device)
        for side in (height, width)
    )
    # One pixel of zeros all around stands for everything outside.
    padded = F.pad(images, (1, 1, 1, 1))
    rows, columns = rows.clamp(-1, height) + 1, columns.clamp(-1, width) + 1
    sample = torch.arange(n, device=images.device)[:, None, None]
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: Tensor) -> Tensor:
    """Set a box of half the sides to zero in each image, anywhere, also partly outside. images: (N, C, H, W)."""
    n, _, height, width = images.shape
    inside = []
    for side in (height, width):
        size = round(side / 2)
        centre = _integers(n, 0, side - size % 2, images.device)
        away = _positions(n, side, images.device) - centre + size // 2
        inside.append((away >= 0) & (away < size))
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


POLICIES = {"flip": flip, "translation": translate, "cutout": cutout}


def augment(images: Tensor, policies: Iterable[str]) -> Tensor:
    """images after these policies, one after the other; gradients pass. images: (N, C, H, W)."""
    for name in policies:
        images = POLICIES[name](images)
    return images


def _positions(n: int, side: int, device: torch.device) -> Tensor:
    """(n, side): 0 to side - 1 in every row."""
    return torch.arange(side, device=device).expand(n, side)


def _integers(n: int, low: int, high: int, device: torch.device) -> Tensor:
    """(n, 1) integers from low to high, both included."""
    return torch.randint(low, high + 1, (n, 1), device=device)

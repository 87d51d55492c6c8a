"""The Lanczos-2 downsampler of Deep Image Prior's super-resolution: from a large image to the small one that is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Lobes of the kernel on either side, in pixels of the small image.
LOBES = 2


def kernel(factor: int) -> Tensor:
    """Its taps along one axis, of sum 1: 4·factor of them, one less for an odd factor, centred on the block.

    w(t) = sinc(t) sinc(t / 2) for abs(t) < 2, t in pixels of the small image.
    """
    half = LOBES * factor
    # The centre of a block of an even number of pixels lies between two of them.
    positions = torch.arange(-half + 1, half, dtype=torch.float64)
    if factor % 2 == 0:
        positions = torch.arange(-half, half, dtype=torch.float64) + 0.5
    t = positions / factor
    taps = torch.sinc(t) * torch.sinc(t / LOBES)
    return taps / taps.sum()


def downsample(image: Tensor, factor: int) -> Tensor:
    """image (N, C, factor·h, factor·w) -> (N, C, h, w), its edge pixels continued beyond the edges."""
    taps = kernel(factor).to(image)
    channels, size = image.shape[1], len(taps)
    before = math.ceil((size - factor) / 2)
    after = size - factor - before
    image = F.pad(image, (before, after, before, after), mode="replicate")
    weight = taps.expand(channels, 1, 1, size)
    image = F.conv2d(image, weight, stride=(1, factor), groups=channels)
    return F.conv2d(image, weight.transpose(2, 3), stride=(factor, 1), groups=channels)

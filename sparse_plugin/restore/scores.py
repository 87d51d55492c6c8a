"""Figures of merit of an image against the clean one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sparse_plugin.restore.pictures import Array

# The window of the structural similarity.
WINDOW = 7


def psnr(image: Tensor, clean: Tensor) -> float:
    """The peak signal-to-noise ratio in dB, of values in [0, 1] that are not rounded; infinite for equal images."""
    error = float((image - clean).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(image: npt.NDArray[Any], clean: npt.NDArray[Any]) -> float:
    """The mean structural similarity (Wang et al. 2004), at most 1, of (H, W) or (H, W, C) with values in [0, 1].

    NaN where a side is below 7 pixels, the window's.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < WINDOW:
        return math.nan
    axis = 2 if image.ndim == 3 else None
    similarity: Any = structural_similarity
    return float(similarity(clean, image, data_range=1.0, channel_axis=axis))


def scores(images: Mapping[str, Tensor], clean: Tensor) -> dict[str, float]:
    """PSNR and SSIM of each image, as psnr_NAME and ssim_NAME."""
    found = {f"psnr_{name}": psnr(image, clean) for name, image in images.items()}
    return found | {f"ssim_{name}": ssim(array_of(image), array_of(clean)) for name, image in images.items()}


def array_of(image: Tensor) -> Array:
    """(1, C, H, W) as (H, W), or (H, W, 3)."""
    planes = image[0].permute(1, 2, 0).cpu().numpy().astype(np.float32)
    return np.ascontiguousarray(planes[..., 0] if planes.shape[2] == 1 else planes)

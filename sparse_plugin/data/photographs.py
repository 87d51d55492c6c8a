"""The built-in data: crops of colour photographs that lie in scikit-image's package itself. Nothing is downloaded.

At 32x32 they are the demo's crops; its training script cuts its own, as it knows nothing of this package.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from PIL import Image

from sparse_plugin.data.images import DataError, Images
from sparse_plugin.support.optional import need

# Their files, by the class that a crop of them has.
PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}

# A photograph is cut at these heights, in crops: from parts of a scene to most of it.
HEIGHTS = (1.25, 1.75, 2.5, 3.5)

# The largest crop whose scaled photographs are hardly larger than the originals.
LARGEST = 128


def original(name: str) -> Image.Image:
    """A photograph of PHOTOGRAPHS, RGB, as it is."""
    with files("skimage.data").joinpath(PHOTOGRAPHS[name]).open("rb") as file:
        return Image.open(file).convert("RGB")


def photographs(size: int, count: int = 4096) -> Images:
    """Random crops, half of them mirrored: count images of size x size, their class the photograph.

    Always the same for the same arguments, and the first of a larger count. Raises DataError for a size below 8 or above
    128, ConfigError where scikit-image is not installed.
    """
    need("the built-in photographs", "data", "skimage")
    if not 8 <= size <= LARGEST:
        raise DataError(f"the built-in photographs are cut at 8x8 to {LARGEST}x{LARGEST}, and {size}x{size} was asked")
    scaled = []
    for name in PHOTOGRAPHS:
        photograph = original(name)
        for crops in HEIGHTS:
            height = round(crops * size)
            width = round(photograph.width * height / photograph.height)
            scaled.append(np.asarray(photograph.resize((width, height), Image.Resampling.LANCZOS)))
    rng = np.random.default_rng(0)
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty(count, np.int64)
    for i in range(count):
        which = rng.integers(len(scaled))
        labels[i] = which // len(HEIGHTS)
        top, left = (int(rng.integers(side - size + 1)) for side in scaled[which].shape[:2])
        crop = scaled[which][top : top + size, left : left + size]
        images[i] = crop[:, ::-1] if rng.integers(2) else crop
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.from_numpy(labels), tuple(PHOTOGRAPHS), f"{count} built-in photograph crops")

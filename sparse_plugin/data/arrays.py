"""Images that are stored as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_plugin.data.decode import Pixels, fit
from sparse_plugin.data.images import DataError
from sparse_plugin.data.labels import classes_of

Chosen = npt.NDArray[np.int64]


class Arrays:
    """Images in an array (N, H, W, 3) or (N, 3, H, W), or of grey ones (N, H, W), (N, H, W, 1) or (N, 1, H, W); uint8."""

    def __init__(
        self, name: str, images: npt.NDArray[Any], labels: npt.NDArray[Any] | None, classes: Sequence[str] | None
    ) -> None:
        shape = images.shape
        if images.ndim == 3 and shape[2] in (3, 4) and shape[1] > 4:
            raise DataError(f"{name}: the images are {shape}, which is one image; write (N, H, W, 3), or grey ones as (N, H, W)")
        if images.ndim == 3:
            images = images[:, None]
        elif images.ndim == 4 and (shape[3] == 3 or (shape[3] == 1 and shape[1] != 3)):
            images = images.transpose(0, 3, 1, 2)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"{name}: the images are {shape}, {images.dtype}; write (N, H, W, 3) or (N, 3, H, W), uint8, or grey ones "
                "as (N, H, W)"
            )
        self.name, self.count = name, len(images)
        self.images: Pixels = images
        self.labels, self.classes = (None, None) if labels is None else classes_of(name, labels, classes)

    def pixels(self, chosen: Chosen, size: int | None, resize: bool) -> Pixels:
        """The chosen images, (N, 3, size, size)."""
        height, width = self.images.shape[2:]
        if size in (None, height) and height == width:
            return np.ascontiguousarray(self.images[chosen].repeat(3 // self.images.shape[1], axis=1))
        if size is None:
            raise DataError(f"{self.name} is of {width}x{height}, which is no square; name a size and ask for resizing")
        images = np.empty((len(chosen), 3, size, size), np.uint8)
        for i, index in enumerate(chosen):
            planes = self.images[index].transpose(1, 2, 0)
            image = Image.fromarray(np.ascontiguousarray(planes[..., 0] if planes.shape[2] == 1 else planes))
            images[i] = fit(f"{self.name}: image {index}", image, size, resize)
        return images

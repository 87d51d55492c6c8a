"""Decoding image files that nobody vouches for, into one array."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from sparse_plugin.data.images import DataError

Pixels = npt.NDArray[np.uint8]

# Raster formats alone: PIL would hand EPS to an interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM")

# One byte a channel; anything deeper would be clipped without a word.
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})

# Of one file, as stored and as pixels.
MAX_BYTES, MAX_PIXELS = 2**26, 2**26

_CHUNK = 128


def decode(name: str, names: Sequence[str], read: Callable[[int], bytes], size: int | None, resize: bool) -> Pixels:
    """The images that read gives the files of, as (N, 3, size, size).

    name, names: of the whole and of each file, for what is said of a bad one. size: that of every image, None for that of
    the first. resize: cut an image of another size to its central square and scale it, instead of refusing it.
    Raises DataError, with the file's name, for one that is no image, is cut short, is too large or has another size, and
    for more than a quarter of the memory holds.
    """
    if size is None:
        with _open(f"{name}: {names[0]}", read(0)) as image:
            if image.width != image.height:
                raise DataError(
                    f"{name}: {names[0]} is {image.width}x{image.height}, which is no square; name a size and ask for resizing"
                )
            size = image.width
    side = size
    check_memory(f"{name}: {len(names)} images of {side}x{side}", len(names) * side * side * 3)
    images = np.empty((len(names), 3, side, side), np.uint8)

    def chunk(start: int) -> None:
        for i in range(start, min(start + _CHUNK, len(names))):
            where = f"{name}: {names[i]}"
            with _open(where, read(i)) as image:
                images[i] = fit(where, image, side, resize)

    # The decoder lets other threads run, but around an image of CIFAR's size there is more Python than decoding.
    threads = min(8, torch.get_num_threads()) if side > 64 else 1
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(chunk, range(0, len(names), _CHUNK)):
            pass
    return images


def check_memory(what: str, needed: int) -> None:
    """Raise DataError where what would take more than a quarter of the memory; needed: in bytes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**34
    if needed > memory // 4:
        raise DataError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory; data sets are held in it, in at most a quarter of its "
            f"{memory / 2**30:.1f} GiB, so take fewer images"
        )


def fit(where: str, image: Image.Image, size: int, resize: bool) -> Pixels:
    """One image as (3, size, size). Raises DataError where it is of another size and resize is not asked for."""
    try:
        if image.size != (size, size):
            if not resize:
                raise DataError(
                    f"{where} is {image.width}x{image.height} and {size}x{size} was asked; "
                    "ask for the size that the images have, or for resizing"
                )
            image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        image.load()
        pixels = (image if image.mode == "RGB" else image.convert("RGB")).tobytes()
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything over a damaged file
        raise DataError(f"{where} is damaged: {_reason(error)}") from None
    decoded: Pixels = np.frombuffer(pixels, np.uint8).reshape(size, size, 3).transpose(2, 0, 1)
    return decoded


def _open(where: str, content: bytes) -> Image.Image:
    """An image whose header is read and whose pixels are not."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise DataError(f"{where} is no image ({', '.join(FORMATS)}) that can be read: {_reason(error)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{where} claims {image.width}x{image.height} pixels; it is not decoded, take it out")
    if image.mode not in MODES:
        raise DataError(f"{where} has pixels of mode {image.mode}; convert it to 8 bits a channel")
    return image


def _reason(error: Exception) -> str:
    return "unknown content" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__

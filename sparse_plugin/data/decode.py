"""Decoding image files that nobody vouches for, into one array."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from sparse_plugin.data.images import DataError
from sparse_plugin.support.files import reason
from sparse_plugin.support.progress import SHORT, Counting

log = logging.getLogger("sparse_plugin")

Pixels = npt.NDArray[np.uint8]

# Raster formats alone: PIL would hand EPS to an interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "GIF", "TIFF")

# One byte a channel; anything deeper would be clipped without a word.
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})

# Of one file, as stored and as pixels.
MAX_BYTES, MAX_PIXELS = 2**26, 2**26

_CHUNK = 128
_ORIENTATION = 0x0112

# PIL warns of large images through Python's filters, which threads share.
_OPENING = Lock()


class Unsaid:
    """What was left out of images, so that it is said once: how many of them, and the first."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._lock = Lock()

    def add(self, what: str, name: str) -> None:
        """Of an image, something was left out."""
        with self._lock:
            self._found.setdefault(what, []).append(name)

    def say(self, where: str, count: int) -> None:
        """One warning for everything that was left out."""
        for what, names in self._found.items():
            log.warning("%s: %d of %d images %s (%s)", where, len(names), count, what, min(names))


PAGES = "hold more pages or frames than the first, which alone is taken"
CLEAR = "have transparent pixels, whose transparency is left out"


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
    unsaid = Unsaid()

    def chunk(start: int) -> None:
        for i in range(start, min(start + _CHUNK, len(names))):
            where = f"{name}: {names[i]}"
            with _open(where, read(i)) as image:
                images[i] = fit(where, image, side, resize, unsaid)

    # The decoder lets other threads run, but around an image of CIFAR's size there is more Python than decoding.
    threads = min(8, torch.get_num_threads()) if side > 64 else 1
    with (
        ThreadPoolExecutor(threads) as pool,
        Counting(f"reading the images of {name}", len(names), after=SHORT) as counting,
    ):
        for _ in pool.map(chunk, range(0, len(names), _CHUNK)):
            counting.advance(_CHUNK)
    unsaid.say(name, len(names))
    return images


def check_memory(what: str, needed: int) -> None:
    """Raise DataError where what would take more than a quarter of the memory; needed: in bytes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**34
    if needed > memory // 4:
        raise DataError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory; data sets are held in it, in at most a quarter of its "
            f"{memory / 2**30:.1f} GiB, so take fewer images"
        )


def fit(where: str, image: Image.Image, size: int, resize: bool, unsaid: Unsaid | None = None) -> Pixels:
    """One image as (3, size, size), turned as it was taken. unsaid: is told of what is left out.

    Raises DataError where it is of another size and resize is not asked for.
    """
    try:
        image.load()
        if unsaid is not None:
            if getattr(image, "n_frames", 1) > 1:
                unsaid.add(PAGES, where)
            if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                unsaid.add(CLEAR, where)
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.size != (size, size):
            if not resize:
                raise DataError(
                    f"{where} is {image.width}x{image.height} and {size}x{size} was asked; "
                    "ask for the size that the images have, or for resizing (--resize)"
                )
            image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        pixels = (image if image.mode == "RGB" else image.convert("RGB")).tobytes()
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything over a damaged file
        raise DataError(f"{where} is damaged: {_reason(error)}") from None
    decoded: Pixels = np.frombuffer(pixels, np.uint8).reshape(size, size, 3).transpose(2, 0, 1)
    return decoded


def opened(content: bytes) -> Image.Image:
    """An image whose header is read and whose pixels are not. Raises DataError for one of too many pixels, and what PIL
    does."""
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise DataError(f"claims more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; it is not decoded") from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"claims {image.width}x{image.height} pixels; it is not decoded")
    return image


def _open(where: str, content: bytes) -> Image.Image:
    try:
        image = opened(content)
    except DataError as error:
        raise DataError(f"{where} {error}, take it out") from None
    except Exception as error:
        raise DataError(f"{where} is no image ({', '.join(FORMATS)}) that can be read: {_reason(error)}") from None
    if image.mode not in MODES or depth(image) > 8:
        deep = f"mode {image.mode}" if image.mode not in MODES else f"{depth(image)} bits a channel"
        raise DataError(f"{where} has pixels of {deep}; convert it to 8 bits a channel")
    return image


def depth(image: Image.Image) -> int:
    """Bits a channel of an image that is open and not loaded: PIL cuts several channels of 16 to 8 without a word."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 1)  # type: ignore[attr-defined]
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    read_as = [tile[3] for tile in image.tile]  # type: ignore[attr-defined]
    most = max((as_[1] for as_ in read_as if isinstance(as_, tuple) and image.format == "PPM"), default=255)
    return 16 if most > 255 or any(";16" in str(as_) for as_ in read_as) else 8


def _reason(error: Exception) -> str:
    return "unknown content" if isinstance(error, UnidentifiedImageError) else reason(error)

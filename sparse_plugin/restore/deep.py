"""Pictures of more than 8 bits a channel, which PIL would cut to 8, or not read: PNG by pypng, TIFF by tifffile.

What PIL does for 8 bits is done for them here: white-is-zero and CMYK become black-is-zero and RGB, premultiplied colours
are divided, and the picture is turned as its orientation says.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_plugin.data import DataError

# Of a TIFF's samples that are no colours: premultiplied, and plain transparency; others are no transparency.
_PREMULTIPLIED, _TRANSPARENCY = 1, 2

_ICC, _ORIENTATION = 34675, 274


@dataclass(frozen=True, eq=False)
class Planes:
    """values: (H, W, C), in [0, 1], float64, the transparency last where clear says so; C without it is 1 or 3."""

    values: npt.NDArray[np.float64]
    clear: bool
    profile: bytes | None
    pages: int = 1


def png(content: bytes, image: Image.Image) -> Planes:
    """A PNG of 16 bits; image: the same, opened by PIL, of which its turning and its profile are taken."""
    from png import Reader

    width, height, rows, info = Reader(bytes=content).asDirect()
    values = np.vstack([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, info["planes"])
    # Fewer than 16 where the file says how many of them were used.
    turned = _turned(values / (2.0 ** info["bitdepth"] - 1), image.getexif().get(_ORIENTATION, 1))
    return Planes(turned, bool(info["alpha"]), image.info.get("icc_profile"), getattr(image, "n_frames", 1))


def tiff(content: bytes, path: object, most: int) -> Planes | None:
    """A TIFF of more than 8 bits a channel, None for one of fewer. most: pixels; path: for what is said.

    Raises DataError for one of more pixels, and for colours, samples, compressions and values that are not read.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        pages = [page for page in file.pages if not page.is_reduced] or [file.pages[0]]
        page: Any = pages[0]
        bits = page.bitspersample
        if bits <= 8:
            return None
        if page.imagewidth * page.imagelength > most:
            raise DataError(
                f"{path} claims {page.imagewidth}x{page.imagelength} pixels; it is not decoded, give a smaller one"
            )
        kinds = {0: ("white-is-zero", 1), 1: ("grey", 1), 2: ("RGB", 3), 5: ("CMYK", 4)}
        kind, colours = kinds.get(int(page.photometric), (str(page.photometric), 0))
        extras = tuple(map(int, page.extrasamples)) or (_TRANSPARENCY,) * (page.samplesperpixel - colours)
        if not colours or page.imagedepth != 1 or page.samplesperpixel != colours + len(extras) or len(extras) > 4:
            raise DataError(
                f"{path} has {page.samplesperpixel} samples of {bits} bits a pixel ({kind}); give one picture, grey, RGB or CMYK"
            )
        values = _values(page, content, path)
        values = np.moveaxis(values, 0, -1) if page.planarconfig == 2 and values.ndim == 3 else values
        values = values.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
        planes = scaled(values, bits, path)
        colour, clear = planes[..., :colours], None
        if kind == "white-is-zero":
            colour = 1 - colour
        elif kind == "CMYK":
            colour = (1 - colour[..., :3]) * (1 - colour[..., 3:])
        if extras and extras[0] in (_PREMULTIPLIED, _TRANSPARENCY):
            clear = planes[..., colours : colours + 1]
            if extras[0] == _PREMULTIPLIED:
                colour = np.divide(colour, clear, out=np.zeros_like(colour), where=clear > 0).clip(0, 1)
        whole = colour if clear is None else np.concatenate([colour, clear], 2)
        tags = page.tags
        orientation = tags[_ORIENTATION].value if _ORIENTATION in tags else 1
        profile = bytes(tags[_ICC].value) if _ICC in tags else None
        return Planes(_turned(whole, int(orientation)), clear is not None, profile, len(pages))


def _values(page: Any, content: bytes, path: object) -> npt.NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    if page.samplesperpixel == 1 and page.bitspersample == 16:
        upright = bytearray(content)  # as PIL would turn it by itself
        if _ORIENTATION in page.tags:
            at = page.tags[_ORIENTATION].valueoffset
            upright[at : at + 2] = (1).to_bytes(2, "little" if page.parent.byteorder == "<" else "big")
        with Image.open(io.BytesIO(upright), formats=["TIFF"]) as image:  # which has the codecs, and for grey the depth
            if image.mode.startswith("I;16"):
                found = np.asarray(image)
                if found.shape == (page.imagelength, page.imagewidth):
                    return found
    raise DataError(
        f"{path} is compressed by {page.compression.name}, and {page.bitspersample} bits of {page.samplesperpixel} channels so "
        "compressed take the package imagecodecs: install it, or save the picture uncompressed or as PNG"
    )


def scaled(values: npt.NDArray[Any], bits: int, path: object) -> npt.NDArray[np.float64]:
    """Scaled to [0, 1]. Raises DataError for values that are not finite or, where they are floating point, not in it."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise DataError(f"{path} holds NaN or infinity; replace those values")
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise DataError(f"{path} has values from {low:.4g} to {high:.4g}; scale them to 0 to 1")
        return values.astype(np.float64)
    if values.dtype.kind not in "iu":
        raise DataError(f"{path} has values of {values.dtype}; give 8 or 16 bits a channel")
    top = 2 ** min(bits, 16) - 1
    if values.min() < 0 or values.max() > top:
        raise DataError(f"{path} has values from {values.min()} to {values.max()}; give 8 or 16 bits a channel")
    in_range: npt.NDArray[np.float64] = values / np.float64(top)
    return in_range


def _turned(values: npt.NDArray[np.float64], orientation: int) -> npt.NDArray[np.float64]:
    """(H, W, C), turned and mirrored as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values

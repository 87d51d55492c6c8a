"""Pictures in files, of 8 or 16 bits a channel, as arrays with values in [0, 1]."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from sparse_plugin.data import DataError
from sparse_plugin.data.decode import FORMATS, MAX_PIXELS, MODES
from sparse_plugin.errors import ConfigError
from sparse_plugin.files import write

Array = npt.NDArray[np.float32]

# What a result can be written as; JPEG holds 8 bits a channel and no transparency.
ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was read.

    pixels: (H, W) or (H, W, 3), float32 in [0, 1]. alpha: (H, W), likewise, or None. depth: bits a channel, 8 or 16.
    profile: the ICC profile, or None.
    """

    pixels: Array
    alpha: Array | None = None
    depth: int = 8
    profile: bytes | None = None

    def with_pixels(self, pixels: Array) -> Picture:
        """These pixels in place of the picture's own; the transparency is scaled to their size."""
        alpha = self.alpha
        if alpha is not None and alpha.shape != pixels.shape[:2]:
            size = (pixels.shape[1], pixels.shape[0])
            scaled = Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC)
            alpha = np.asarray(scaled, np.float32).clip(0, 1)
        return replace(self, pixels=pixels, alpha=alpha)


def read(path: Path) -> Picture:
    """The picture in a file: grey, palette, RGB or CMYK, with transparency or without, 8 or 16 bits, turned as it was taken.

    Raises DataError for a file that is missing, no image, damaged or too large, or whose values are not finite or, where
    they are floating point, not in [0, 1].
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror}; name an image file") from None
    try:
        return _decode(content, path)
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything over a damaged file
        known = ", ".join((*FORMATS, "TIFF"))
        why = f"it is no {known} file" if isinstance(error, UnidentifiedImageError) else f"it is damaged: {error}"
        raise DataError(f"{path} is not an image that can be read: {why}") from None


def _decode(content: bytes, path: Path) -> Picture:
    if content.startswith(_PNG) and content[24] == 16 and content[25] != 0:
        return _split(_deep_png(content, path), 16, path)
    if content.startswith(_TIFF):
        deep = _deep_tiff(content, path)
        if deep is not None:
            return _split(deep, 16, path)
    with Image.open(io.BytesIO(content), formats=(*FORMATS, "TIFF")) as image:
        _check_size(image.width, image.height, path)
        profile = image.info.get("icc_profile")
        if image.mode == "F" or image.mode.startswith("I"):
            return replace(_split(np.asarray(ImageOps.exif_transpose(image)), 16, path), profile=profile)
        if image.mode not in MODES:
            raise DataError(f"{path} has pixels of mode {image.mode}; convert it to grey or RGB")
        grey = image.mode in ("1", "L", "LA")
        clear = image.has_transparency_data
        mode = ("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB")
        return replace(_split(np.asarray(ImageOps.exif_transpose(image).convert(mode)), 8, path), profile=profile)


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{path} claims {width}x{height} pixels; it is not decoded, give a smaller one")


def _deep_png(content: bytes, path: Path) -> npt.NDArray[Any]:
    """Several channels of 16 bits, (H, W, C), which PIL would cut to 8 without a word."""
    import png

    _check_size(int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"), path)
    width, height, rows, info = png.Reader(bytes=content).asDirect()
    return np.vstack([np.asarray(row, np.uint16) for row in rows]).reshape(height, width, info["planes"])


def _deep_tiff(content: bytes, path: Path) -> npt.NDArray[Any] | None:
    """Several channels of more than 8 bits, (H, W, C), which PIL does not read as they are; None for anything else."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages[0]
        if page.samplesperpixel == 1 or page.bitspersample <= 8:
            return None
        _check_size(page.imagewidth, page.imagelength, path)
        return np.asarray(page.asarray())


def _split(values: npt.NDArray[Any], depth: int, path: Path) -> Picture:
    """Colour and transparency, scaled to [0, 1], of values (H, W) or (H, W, C)."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise DataError(f"{path} holds NaN or infinity; replace those values")
        if values.min() < 0 or values.max() > 1:
            raise DataError(f"{path} has values from {values.min():.4g} to {values.max():.4g}; scale them to 0 to 1")
        scaled = values.astype(np.float32)
    else:
        if values.min() < 0 or values.max() >= 2**depth:
            raise DataError(f"{path} has values from {values.min()} to {values.max()}; give 8 or 16 bits a channel")
        scaled = (values / np.float64(2**depth - 1)).astype(np.float32)
    channels = scaled.shape[2] if scaled.ndim == 3 else 1
    if scaled.ndim not in (2, 3) or channels > 4:
        raise DataError(f"{path} is an array of {'x'.join(map(str, scaled.shape))}; give one picture, grey or RGB")
    planes = scaled.reshape(*scaled.shape[:2], channels)
    colour = planes[..., :3] if channels > 2 else planes[..., 0]
    alpha = planes[..., -1] if channels in (2, 4) else None
    return Picture(np.ascontiguousarray(colour), None if alpha is None else np.ascontiguousarray(alpha), depth)


def check_writable(path: Path, picture: Picture, to_make: Path | None = None) -> None:
    """Raise ConfigError unless picture can be written at path: its ending, its folder, what that format holds.

    to_make: a folder that need not be there yet.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"the output {path} has the ending {ending!r}; give one of {', '.join(ENDINGS)}")
    if ending.startswith(".j") and (picture.depth == 16 or picture.alpha is not None):
        has = "16 bits a channel" if picture.depth == 16 else "transparency"
        raise ConfigError(f"the output {path} would be JPEG, and the image has {has}; write .png or .tif")
    if not path.parent.is_dir() and path.parent != to_make:
        raise ConfigError(f"the output {path} has no folder to be in: {path.parent} is not there; make it")


def encode(picture: Picture, ending: str) -> bytes:
    """The content of a file with one of ENDINGS; values are rounded to the picture's depth."""
    planes = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    if picture.alpha is not None:
        planes = np.concatenate([planes, picture.alpha[..., None]], axis=2)
    top = 2**picture.depth - 1
    values = (planes.astype(np.float64).clip(0, 1) * top).round().astype(np.uint16 if picture.depth == 16 else np.uint8)
    height, width, channels = values.shape
    stream = io.BytesIO()
    if picture.depth == 8 or channels == 1:
        image = Image.fromarray(values[..., 0] if channels == 1 else values)
        extra: dict[str, Any] = {"quality": 95} if ending.startswith(".j") else {}
        kind = {".p": "PNG", ".t": "TIFF", ".j": "JPEG"}[ending[:2]]
        image.save(stream, kind, icc_profile=picture.profile, **extra)
    elif ending == ".png":
        import png

        writer = png.Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16)
        writer.write(stream, values.reshape(height, width * channels))
    else:
        import tifffile

        extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        kind = "rgb" if channels > 2 else "minisblack"
        tifffile.imwrite(stream, values, photometric=kind, planarconfig="contig", metadata=None, **extra)
    return stream.getvalue()


store = write

"""Pictures in files, of 8 or 16 bits a channel, as arrays with values in [0, 1]."""

from __future__ import annotations

import io
import logging
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from sparse_plugin.data import DataError
from sparse_plugin.data.decode import FORMATS, MAX_PIXELS, MODES, depth, opened
from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.deep import png, scaled, tiff
from sparse_plugin.support.files import reason

log = logging.getLogger("sparse_plugin")

Array = npt.NDArray[np.float32]

# What a result can be written as; JPEG holds 8 bits a channel and no transparency.
ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was read.

    pixels: (H, W) or (H, W, 3), float32 in [0, 1]. alpha: (H, W), likewise, or None. depth: bits a channel, 8 or 16.
    profile: the ICC profile, or None; of a CMYK file that has one sRGB's, as the pixels are RGB.
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

    Pages and frames beyond the first are left out, with a warning.

    Raises DataError for a file that is missing, no image, damaged or too large, or whose values are not finite or, where
    they are floating point, not in [0, 1].
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a device, which may never end
            raise ValueError("it is no plain file")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"the image {path} cannot be read: {reason(error)}; name an image file") from None
    try:
        return _decode(content, path)
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything over a damaged file
        known = ", ".join(FORMATS)
        why = f"it is no {known} file" if isinstance(error, UnidentifiedImageError) else f"it is damaged: {reason(error)}"
        raise DataError(f"{path} is not an image that can be read: {why}") from None


def _decode(content: bytes, path: Path) -> Picture:
    deep = None
    if content.startswith(_TIFF):
        deep = tiff(content, path, MAX_PIXELS)
    if deep is None:
        try:
            image = opened(content)
        except DataError as error:
            raise DataError(f"{path} {error}, give a smaller one") from None
        with image:
            if content.startswith(_PNG) and content[24] == 16:
                deep = png(content, image)
            else:
                return _shallow(image, path)
    _say_pages(path, deep.pages)
    return _picture(deep.values, deep.clear, 16, deep.profile)


def _shallow(image: Image.Image, path: Path) -> Picture:
    """A picture as PIL reads it."""
    cut = depth(image)
    if cut > 8 and image.mode == "RGB":
        raise DataError(f"{path} is {image.format} of {cut} bits a channel; convert it to PNG or TIFF")
    _say_pages(path, getattr(image, "n_frames", 1))
    profile = image.info.get("icc_profile")
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _picture(scaled(np.asarray(ImageOps.exif_transpose(image)), 16, path), False, 16, profile)
    if image.mode not in MODES:
        raise DataError(f"{path} has pixels of mode {image.mode}; convert it to grey or RGB")
    clear = image.has_transparency_data
    mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + ("A" if clear else "")
    values = np.asarray(ImageOps.exif_transpose(image).convert(mode))
    return _picture(scaled(values, 8, path), clear, 8, profile)


def _say_pages(path: Path, count: int) -> None:
    if count > 1:
        log.warning("%s holds %d pages or frames; the first is read", path, count)


def _picture(values: npt.NDArray[np.float64], clear: bool, depth: int, profile: bytes | None) -> Picture:
    """Colour and transparency of values (H, W) or (H, W, C), in [0, 1]."""
    planes = values.astype(np.float32).reshape(*values.shape[:2], -1)
    count = planes.shape[2] - clear
    colour = np.ascontiguousarray(planes[..., :3] if count == 3 else planes[..., 0])
    alpha = np.ascontiguousarray(planes[..., -1]) if clear else None
    return Picture(colour, alpha, depth, _fitting(profile, count))


def _fitting(profile: bytes | None, colours: int) -> bytes | None:
    """An ICC profile; for that of a CMYK file, whose pixels are RGB now, sRGB's; None for one of another colour space."""
    space = (profile or b"")[16:20]
    if space == b"CMYK" and colours == 3:
        return _srgb()
    others = {b"RGB ", b"GRAY", b"CMYK", b"Lab ", b"XYZ ", b"YCbr"} - {b"GRAY" if colours == 1 else b"RGB "}
    return None if space in others else profile


def _srgb() -> bytes | None:
    """The profile of sRGB, None where PIL was built without colour management."""
    try:
        from PIL import ImageCms

        made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    except ImportError:
        return None
    date, identifier = slice(24, 36), slice(84, 100)  # which would make equal pictures different files
    profile = bytearray(made)
    profile[date], profile[identifier] = bytes(12), bytes(16)
    return bytes(profile)


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
        from png import Writer

        writer = Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16)
        writer.write(stream, values.reshape(height, width * channels))
        return _with_profile(stream.getvalue(), picture.profile)
    else:
        import tifffile

        extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        kind = "rgb" if channels > 2 else "minisblack"
        tifffile.imwrite(
            stream, values, photometric=kind, planarconfig="contig", metadata=None, iccprofile=picture.profile, **extra
        )
    return stream.getvalue()


def _with_profile(content: bytes, profile: bytes | None) -> bytes:
    """A PNG with an ICC profile, which pypng does not write."""
    if profile is None:
        return content
    chunk = b"iCCPprofile\0\0" + zlib.compress(profile)
    header = len(_PNG) + 25  # the signature and the first chunk, IHDR
    whole = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return content[:header] + whole + content[header:]


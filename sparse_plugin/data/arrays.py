"""Images that are stored as arrays: npz, torchvision's CIFAR-10."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_plugin.data import splits
from sparse_plugin.data.decode import Pixels, check_memory, fit
from sparse_plugin.data.files import open_zip
from sparse_plugin.data.images import DataError
from sparse_plugin.data.labels import classes_of
from sparse_plugin.data.source import Source
from sparse_plugin.support.files import reason
from sparse_plugin.support.optional import need

Chosen = npt.NDArray[np.int64]
Headers = dict[str, tuple[tuple[int, ...], str]]

# What the arrays of an npz are called, without the name of a split.
_IMAGES, _LABELS = ("images",), ("labels", "label", "y")


class Arrays:
    """Images in an array (N, H, W, 3) or (N, 3, H, W), or of grey ones (N, H, W), (N, H, W, 1) or (N, 1, H, W); uint8."""

    def __init__(
        self, name: str, images: npt.NDArray[Any], labels: npt.NDArray[Any] | None, classes: Sequence[str] | None
    ) -> None:
        shape = images.shape
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


def npz(path: Path, asked: Source) -> tuple[Arrays, str | None]:
    """An npz, and the split that was taken of it. Images are in its only four-dimensional uint8 array, or in `images`, or
    where there is none in the same way in a three-dimensional one; labels in `labels`, `y` or its only one-dimensional
    integer array; names in `classes`. With x_train beside x_test, asked says the split; asked may name both arrays.

    Raises DataError where that is not so, where an array is not what its header says, or holds Python objects.
    """
    with open_zip(path) as archive:
        headers = {entry.filename[: -len(".npy")]: _header(path.name, archive, entry) for entry in archive.infolist()}
    taken, split = _of_split(path.name, headers, asked)
    uint8 = {name: len(shape) for name, (shape, kind) in taken.items() if kind == "uint8"}
    images = asked.image_column or next(
        (
            found
            for dimensions in (4, 3)
            if (found := _only(path.name, "images", [k for k, d in uint8.items() if d == dimensions], _IMAGES))
        ),
        None,
    )
    if images is None:
        listed = ", ".join(f"{name} {shape} {kind}" for name, (shape, kind) in headers.items())
        raise DataError(f"{path.name} has no four-dimensional uint8 array of images; it has {listed or 'nothing'}")
    labels = asked.label_column or _labels(path.name, taken)
    for flag, name in (("image", images), ("label", labels)):
        if name is not None and name not in headers:
            raise DataError(f"{path.name} has no array {name} (--{flag}-column); it has {', '.join(headers)}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            theirs = None if labels is None else arrays[labels]
            named = (
                "classes" in headers and labels != "classes" and theirs is not None and theirs.dtype.kind not in "US"
            )
            names = _names(path.name, arrays["classes"]) if named else None
            return Arrays(path.name, arrays[images], theirs, names), split
    except (
        ValueError,
        OSError,
        EOFError,
        MemoryError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
    ) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name} cannot be read: {error}") from None


def _of_split(name: str, headers: Headers, asked: Source) -> tuple[Headers, str | None]:
    """The arrays of one split, where their names say which they are of, and those of none."""
    of = {array: found for array in headers if (found := splits.in_name(array)) is not None}
    there = set(of.values())
    if asked.split is not None:
        wanted = splits.canonical(asked.split)
        if wanted not in there:
            raise splits.missing(name, asked.split, there)
        return {array: header for array, header in headers.items() if of.get(array, wanted) == wanted}, wanted
    pictures = {of[array] for array in of if headers[array][1] == "uint8" and len(headers[array][0]) > 2}
    if asked.image_column is None and len(pictures) > 1 and "images" not in headers:
        raise splits.ask(name, pictures)
    return headers, None


def _labels(name: str, headers: Headers) -> str | None:
    usual = [array for array, (shape, _) in headers.items() if _bare(array) in _LABELS and len(shape) < 3]
    flat = [k for k, (shape, kind) in headers.items() if shape[1:] in ((), (1,)) and kind.startswith(("int", "uint"))]
    return _only(name, "labels", usual or flat, _LABELS)


def _names(name: str, values: npt.NDArray[Any]) -> list[str]:
    if values.ndim != 1:
        raise DataError(f"{name}: `classes` is an array {values.shape}; give one name a class")
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _bare(array: str) -> str:
    """Its name without that of a split: "x" for "x_train", "images" for "val_images"."""
    return "_".join(word for word in array.lower().split("_") if splits.of_name(word) is None)


def _header(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], str]:
    """Shape and type of an array in an npz. Raises DataError where it holds less or more than they say."""
    try:
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if dtype.hasobject or file.tell() + size != entry.file_size:
                raise ValueError(f"its header says {shape}, {dtype}, and it unpacks to {entry.file_size:,} bytes")
    except Exception as error:  # a damaged header is parsed as Python
        raise DataError(f"{name}: {entry.filename} is no plain array: {error}") from None
    check_memory(f"{name}: {entry.filename}", size)
    return shape or (1,), dtype.name


def _only(name: str, wanted: str, candidates: list[str], known: Sequence[str]) -> str | None:
    """The candidate of such a name, else the only one; None where there is none."""
    for usual in known:
        found = [candidate for candidate in candidates if usual in (candidate, _bare(candidate))]
        if len(found) == 1:
            return found[0]
    if len(candidates) > 1:
        raise DataError(
            f"{name} has several arrays that could be {wanted}: {', '.join(candidates)}; name one `{wanted}`, or say which "
            f"by --{'image' if wanted == 'images' else 'label'}-column"
        )
    return candidates[0] if candidates else None


def cifar10(root: Path, train: bool, download: bool) -> Arrays:
    """CIFAR-10 as torchvision keeps it in root/cifar-10-batches-py, its files' checksums verified.

    Raises DataError where it is not there, or not whole, and download is not asked for, or fails.
    """
    need("CIFAR-10", "data", "torchvision")
    from torchvision.datasets import CIFAR10

    try:
        data = CIFAR10(str(root), train=train, download=download)
    except (RuntimeError, OSError) as error:
        if download:
            raise DataError(f"CIFAR-10 cannot be downloaded: {reason(error)}") from None
        raise DataError(
            f"CIFAR-10 is not in {root}, or not whole; name the folder that holds {CIFAR10.base_folder}, or ask for its "
            "download (--download)"
        ) from None
    name = "CIFAR-10" if train else "the test images of CIFAR-10"
    return Arrays(name, data.data, np.array(data.targets), data.classes)

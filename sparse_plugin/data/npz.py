"""Images in an npz."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_plugin.data import splits
from sparse_plugin.data.archive import open_zip
from sparse_plugin.data.arrays import Arrays
from sparse_plugin.data.decode import check_memory
from sparse_plugin.data.format import Format, named
from sparse_plugin.data.images import DataError
from sparse_plugin.data.source import Source

Headers = dict[str, tuple[tuple[int, ...], str]]

# What the arrays of an npz are called, without the name of a split.
_IMAGES, _LABELS = ("images",), ("labels", "label", "y")


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
    if asked.image_column is None:
        _refuse_what_lies_beside(path.name, images, taken)
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


def _refuse_what_lies_beside(name: str, found: str, headers: Headers) -> None:
    """Raise DataError where the array that was found lies beside images of another type: masks beside floats, say."""
    if _bare(found) in _IMAGES:
        return
    coloured = _coloured(headers[found][0])
    others = [
        f"{array} {shape} {kind}"
        for array, (shape, kind) in headers.items()
        if kind != "uint8" and ((_bare(array) in _IMAGES and len(shape) > 2) or (_coloured(shape) and not coloured))
    ]
    if others:
        raise DataError(
            f"{name} has {', '.join(others)}, and images are uint8, from 0 to 255; write them so, or, if {found} holds the images, "
            f"say it by --image-column {found}"
        )


def _coloured(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and 3 in (shape[1], shape[3])


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


@contextmanager
def _open(path: Path, asked: Source) -> Iterator[Arrays]:
    yield named(*npz(path, asked))


FORMAT = Format.of_files(".npz", _open, order=20)

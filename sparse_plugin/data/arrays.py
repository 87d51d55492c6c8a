"""Images that are stored as arrays or as tables: npz, Hugging Face parquet, torchvision's CIFAR-10."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparse_plugin.data.decode import MAX_BYTES, Pixels, check_memory, decode, fit
from sparse_plugin.data.files import open_zip
from sparse_plugin.data.images import DataError, numbered
from sparse_plugin.extras import need

Labels = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.int64]


class Arrays:
    """Images in an array (N, H, W, 3) or (N, 3, H, W), uint8."""

    def __init__(
        self, name: str, images: npt.NDArray[Any], labels: npt.NDArray[Any] | None, classes: Sequence[str] | None
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or 3 not in (images.shape[1], images.shape[3]):
            raise DataError(
                f"{name}: the images are {images.shape}, {images.dtype}; write (N, H, W, 3) or (N, 3, H, W), uint8"
            )
        self.name, self.count = name, len(images)
        self.images: Pixels = images.transpose(0, 3, 1, 2) if images.shape[3] == 3 else images
        self.labels: Labels | None = None
        self.classes: tuple[str, ...] | None = None
        if labels is not None:
            self.labels = labels.reshape(len(labels)).astype(np.int64)
            self.classes = numbered(self.labels, name) if classes is None else tuple(classes)

    def pixels(self, chosen: Chosen, size: int | None, resize: bool) -> Pixels:
        """The chosen images, (N, 3, size, size)."""
        height, width = self.images.shape[2:]
        if size in (None, height) and height == width:
            return np.ascontiguousarray(self.images[chosen])
        if size is None:
            raise DataError(f"{self.name} is of {width}x{height}, which is no square; name a size and ask for resizing")
        images = np.empty((len(chosen), 3, size, size), np.uint8)
        for i, index in enumerate(chosen):
            image = Image.fromarray(np.ascontiguousarray(self.images[index].transpose(1, 2, 0)))
            images[i] = fit(f"{self.name}: image {index}", image, size, resize)
        return images


def npz(path: Path) -> Arrays:
    """An npz: images in its only four-dimensional uint8 array, or in `images`; labels in `labels`, `y` or its only
    one-dimensional integer array; names in `classes`.

    Raises DataError where that is not so, where an array is not what its header says, or holds Python objects.
    """
    with open_zip(path) as archive:
        headers = {entry.filename[: -len(".npy")]: _header(path.name, archive, entry) for entry in archive.infolist()}
    images = _only(
        path.name, "images", [k for k, (shape, kind) in headers.items() if len(shape) == 4 and kind == "uint8"]
    )
    if images is None:
        listed = ", ".join(f"{name} {shape} {kind}" for name, (shape, kind) in headers.items())
        raise DataError(f"{path.name} has no four-dimensional uint8 array of images; it has {listed or 'nothing'}")
    flat = [k for k, (shape, kind) in headers.items() if shape[1:] in ((), (1,)) and kind.startswith(("int", "uint"))]
    labels = _only(path.name, "labels", flat, "y")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["classes"]] if "classes" in headers else None
            return Arrays(path.name, arrays[images], None if labels is None else arrays[labels], names)
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name} cannot be read: {error}") from None


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


def _only(name: str, wanted: str, candidates: list[str], *also: str) -> str | None:
    """The candidate of that name, else the only one; None where there is none."""
    for known in (wanted, *also):
        if known in candidates:
            return known
    if len(candidates) > 1:
        raise DataError(
            f"{name} has several arrays that could be {wanted}: {', '.join(candidates)}; name one `{wanted}`"
        )
    return candidates[0] if candidates else None


class Parquet:
    """Hugging Face parquet: a column of encoded images, and a label column with class names where there is one."""

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        need("reading parquet", "data", "pyarrow")
        import pyarrow
        import pyarrow.parquet

        self.name = name
        try:
            self._files = [pyarrow.parquet.ParquetFile(path) for path in paths]
            schema = self._files[0].schema_arrow
            self._column = _image_column(name, schema)
            column, names = _label_column(schema)
            self.count = sum(file.metadata.num_rows for file in self._files)
            self.labels: Labels | None = None
            if column is not None:
                read = [file.read([column]).column(0).to_numpy() for file in self._files]
                self.labels = np.concatenate(read).astype(np.int64)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{name} is no parquet that can be read: {_first_line(error)}") from None
        self.classes: tuple[str, ...] | None = None
        if self.labels is not None:
            self.classes = numbered(self.labels, name) if names is None else tuple(names)

    def pixels(self, chosen: Chosen, size: int | None, resize: bool) -> Pixels:
        """The chosen images, (N, 3, size, size)."""
        import pyarrow

        files: list[bytes] = []
        try:
            wanted, row = set(chosen.tolist()), 0
            for file in self._files:
                for batch in file.iter_batches(1024, columns=[self._column]):
                    rows = [i for i in range(len(batch)) if row + i in wanted]
                    files += [_content(self.name, row + i, batch.column(0)[i].as_py()) for i in rows]
                    row += len(batch)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{self.name} is damaged: {_first_line(error)}") from None
        return decode(self.name, [f"row {i}" for i in chosen], files.__getitem__, size, resize)


def _image_column(name: str, schema: Any) -> str:
    import pyarrow

    def holds_files(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    columns: list[str] = [field.name for field in schema if holds_files(field.type)]
    if not columns:
        raise DataError(f"{name} has no column of encoded images; its columns are {', '.join(schema.names)}")
    return next((column for column in columns if column in ("image", "img")), columns[0])


def _label_column(schema: Any) -> tuple[str | None, list[str] | None]:
    """The label column and its classes' names, as the data set's own description in the file gives them."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    for column, feature in features.items():
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            return column, feature.get("names")
    return next((column for column in ("label", "labels") if column in schema.names), None), None


def _content(name: str, row: int, value: Any) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not content:
        raise DataError(
            f"{name}: row {row} holds no image file, only a path or nothing; write the images into the table"
        )
    if len(content) > MAX_BYTES:
        raise DataError(f"{name}: row {row} has {len(content):,} bytes, more than any image of a data set")
    return bytes(content)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
            raise DataError(f"CIFAR-10 cannot be downloaded: {_first_line(error)}") from None
        raise DataError(
            f"CIFAR-10 is not in {root}, or not whole; name the folder that holds {CIFAR10.base_folder}, or ask for its download"
        ) from None
    name = "CIFAR-10" if train else "the test images of CIFAR-10"
    return Arrays(name, data.data, np.array(data.targets), data.classes)

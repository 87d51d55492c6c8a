"""`load`: images from wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sparse_plugin.data import arrays
from sparse_plugin.data.decode import Pixels, decode
from sparse_plugin.data.files import Archive, Files, Folder
from sparse_plugin.data.images import DataError, Images, check_labels, choose, subset_name
from sparse_plugin.data.photographs import photographs
from sparse_plugin.projections.cache import directory

Split = Literal["train", "test"]

CIFAR10, CIFAR10_FOLDER = "cifar10", "cifar-10-batches-py"
FORMS = f"{CIFAR10}, a folder, or a .zip, .npz or .parquet file"


class Source(Protocol):
    """Images that are not decoded yet, with the labels of all of them."""

    name: str
    count: int
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...] | None

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        """The chosen ones, decoded: (N, 3, size, size)."""


def load(
    source: str | None,
    size: int | None = 32,
    fraction: float = 1.0,
    seed: int = 0,
    *,
    split: Split | None = None,
    resize: bool = False,
    download: bool = False,
) -> Images:
    """Images of size x size, decoded into memory; with size None, of the size that they have.

    source: None for the built-in photograph crops; "cifar10", or a folder that holds torchvision's copy of it; a folder
    of images or of class folders; a zip of the same, with StyleGAN's dataset.json or without; an npz; a parquet file of
    Hugging Face, or a folder of them. Only the images of a `fraction` of every class, chosen by seed, are decoded.
    split: "train" (also for None) or "test", where the source has both. resize: cut images of another size to their
    central square and scale them. download: fetch "cifar10" where it is missing; nothing else is ever downloaded.

    Raises DataError, which names the file, for what is missing, empty, damaged, hostile, of another size or too large.
    """
    if source is None:
        _no_split("the built-in photographs have", split)
        return photographs(32 if size is None else size).subset(fraction, seed)
    with _open(source, split, download) as found:
        if not found.count:
            raise DataError(f"{found.name} holds no images")
        if found.labels is not None and found.classes is not None:
            check_labels(found.labels, found.count, found.classes, found.name)
        chosen = choose(found.count, found.labels, fraction, seed)
        pixels = torch.from_numpy(found.pixels(chosen, size, resize))
        labels = None if found.labels is None else torch.from_numpy(found.labels[chosen])
        return Images(pixels, labels, found.classes, subset_name(found.name, fraction, seed))


@contextmanager
def _open(source: str, split: Split | None, download: bool) -> Iterator[Source]:
    path = Path(source).expanduser()
    if not path.exists():
        if source == CIFAR10:
            yield arrays.cifar10(directory() / "data", split != "test", download)
            return
        raise DataError(f"there is no file or folder {source}; the data are {FORMS}")
    root = path.parent if path.name == CIFAR10_FOLDER else path
    if (root / CIFAR10_FOLDER).is_dir():
        yield arrays.cifar10(root, split != "test", download)
        return
    tables = [path] if path.suffix == ".parquet" else sorted(path.rglob("*.parquet"))
    if tables:
        yield arrays.Parquet(path.name, _of_split(path.name, tables, split))
        return
    _no_split(f"{path.name} has", split)
    if path.is_dir():
        yield _Files(Folder(path))
    elif path.suffix == ".zip":
        with Archive(path) as archive:
            yield _Files(archive)
    elif path.suffix == ".npz":
        yield arrays.npz(path)
    else:
        raise DataError(f"{source} is no data set; the data are {FORMS}")


class _Files:
    """Image files as a source."""

    def __init__(self, files: Files) -> None:
        self.files, self.name = files, files.name
        self.labels, self.classes = files.labelled()
        self.count = len(files.names)

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        names = [self.files.names[i] for i in chosen]
        return decode(self.name, names, lambda i: self.files.read(names[i]), size, resize)


def _of_split(name: str, tables: list[Path], split: Split | None) -> list[Path]:
    """The files of one split: the Hub names them `train-00000-of-00001.parquet`."""
    named = [table for table in tables if table.name.startswith(f"{split or 'train'}-")]
    if named or split is None:
        return named or tables
    raise DataError(f"{name} has no {split}-*.parquet; name the file of the {split} images")


def _no_split(whose: str, split: Split | None) -> None:
    if split is not None:
        raise DataError(f"{whose} no splits, and {split!r} was asked; name the images of one split")

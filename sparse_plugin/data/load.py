"""`load`: images from wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from sparse_plugin.data import arrays, parquet, splits
from sparse_plugin.data.decode import Pixels, decode
from sparse_plugin.data.files import Archive, Files, Folder
from sparse_plugin.data.images import DataError, Images, check_labels, choose, subset_name
from sparse_plugin.data.photographs import photographs
from sparse_plugin.data.source import Source
from sparse_plugin.support.cache import directory

Split = str

CIFAR10, CIFAR10_FOLDER = "cifar10", "cifar-10-batches-py"
FORMS = f"{CIFAR10}, a folder, or a .zip, .npz or .parquet file"


class Found(Protocol):
    """Images that are not decoded yet, with the labels of all of them."""

    name: str
    count: int
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...] | None

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        """The chosen ones, decoded: (N, 3, size, size)."""


def load(
    source: str | Path | Source | None,
    size: int | None = 32,
    fraction: float = 1.0,
    seed: int = 0,
    *,
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    resize: bool = False,
    download: bool = False,
) -> Images:
    """Images of size x size, decoded into memory; with size None, of the size that they have.

    source: None for the built-in photograph crops; "cifar10", or a folder that holds torchvision's copy of it; a folder
    of images or of class folders; a zip of the same, with StyleGAN's dataset.json or without; an npz; a parquet file of
    Hugging Face, or a folder of them; or a `Source`, which says all of it. A folder that wraps everything else is passed
    through. Only the images of a `fraction` of every class, chosen by seed, are decoded. split: the one to take of several
    beside each other, such as "train" or "test"; None takes the training images of CIFAR-10 and of parquet whose files
    are named by splits, and refuses other data that have several. image_column, label_column: of parquet, or arrays of an
    npz, where theirs cannot be told. resize: cut images of another size to their central square and scale them. download:
    fetch "cifar10" where it is missing; nothing else is ever downloaded.

    Raises DataError, which names the file, for what is missing, empty, damaged, hostile, of another size or too large.
    """
    asked = Source.of(
        source, split=split, image_column=image_column, label_column=label_column, resize=resize, download=download
    )
    if asked.path is None:
        _neither("the built-in photographs have", asked)
        built_in = photographs(32 if size is None else size).subset(fraction, seed)
        return replace(built_in, reading=asked.reading())
    with _open(asked.path, asked) as found:
        if not found.count:
            raise DataError(f"{found.name} holds no images")
        if found.labels is not None and found.classes is not None:
            check_labels(found.labels, found.count, found.classes, found.name)
        chosen = choose(found.count, found.labels, fraction, seed)
        pixels = torch.from_numpy(found.pixels(chosen, size, asked.resize))
        labels = None if found.labels is None else torch.from_numpy(found.labels[chosen])
        return Images(pixels, labels, found.classes, subset_name(found.name, fraction, seed), asked.reading())


@contextmanager
def _open(source: str, asked: Source) -> Iterator[Found]:
    path = Path(source).expanduser()
    if not path.exists():
        if source == CIFAR10:
            yield _cifar10(directory() / "data", asked)
            return
        raise DataError(f"there is no file or folder {source}; the data are {FORMS}")
    root = path.parent if path.name == CIFAR10_FOLDER else path
    if (root / CIFAR10_FOLDER).is_dir():
        yield _cifar10(root, asked)
        return
    ending = path.suffix.lower()
    tables = [path] if ending == ".parquet" and path.is_file() else _tables(path)
    if tables:
        chosen, split = parquet.of_split(path.name, path, tables, asked.split)
        yield named(parquet.Parquet(path.name, chosen, asked), split)
    elif path.is_dir():
        yield _Files(Folder(path), asked)
    elif ending == ".zip":
        with Archive(path) as archive:
            yield _Files(archive, asked)
    elif ending == ".npz":
        yield named(*arrays.npz(path, asked))
    else:
        raise DataError(f"{source} is no data set; the data are {FORMS}")


_Found = TypeVar("_Found", bound=Found)


def named(found: _Found, split: str | None) -> _Found:
    """The same, called by the split that was taken of several."""
    if split is not None:
        found.name = f"the {split} images of {found.name}"
    return found


class _Files:
    """Image files as a source."""

    def __init__(self, files: Files, asked: Source) -> None:
        self.files, self.name = files, files.name
        _neither(f"{files.name} has", replace(asked, split=None))
        files.enter(asked.split)
        self.labels, self.classes = files.labelled()
        self.count = len(files.names)
        named(self, files.split)

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        names = [self.files.names[i] for i in chosen]
        whole = [self.files.root + name for name in names]
        return decode(self.files.name, whole, lambda i: self.files.read(names[i]), size, resize)


def _tables(folder: Path) -> list[Path]:
    """The parquet files below a folder, hidden folders aside."""
    found = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _cifar10(root: Path, asked: Source) -> Found:
    _neither("CIFAR-10 has", replace(asked, split=None))
    split = None if asked.split is None else splits.canonical(asked.split)
    if split not in (None, "train", "test"):
        raise splits.missing("CIFAR-10", str(asked.split), ("train", "test"))
    return arrays.cifar10(root, split != "test", asked.download)


def _neither(whose: str, asked: Source) -> None:
    """Raise DataError where splits or columns are asked for of what has none."""
    if asked.split is not None:
        raise DataError(f"{whose} no splits, and {asked.split!r} was asked; name the images of one split")
    for name in (asked.image_column, asked.label_column):
        if name is not None:
            raise DataError(f"{whose} no columns, and {name!r} was asked; columns are those of parquet and npz")

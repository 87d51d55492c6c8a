"""CIFAR-10 as torchvision keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sparse_plugin.data import splits
from sparse_plugin.data.arrays import Arrays
from sparse_plugin.data.format import Format, no_columns
from sparse_plugin.data.images import DataError
from sparse_plugin.data.source import Source
from sparse_plugin.support.cache import directory
from sparse_plugin.support.files import reason
from sparse_plugin.support.optional import need

NAME, FOLDER = "cifar10", "cifar-10-batches-py"


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


def _root(path: Path) -> Path:
    return path.parent if path.name == FOLDER else path


@contextmanager
def _open(path: Path, asked: Source) -> Iterator[Arrays]:
    no_columns("CIFAR-10 has", asked)
    split = None if asked.split is None else splits.canonical(asked.split)
    if split not in (None, "train", "test"):
        raise splits.missing("CIFAR-10", str(asked.split), ("train", "test"))
    root = _root(path) if path.exists() else directory() / "data"
    yield cifar10(root, split != "test", asked.download)


FORMAT = Format(lambda path: (_root(path) / FOLDER).is_dir(), _open, names=(NAME,), order=0)

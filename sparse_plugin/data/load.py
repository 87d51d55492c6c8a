"""`load`: images from wherever they are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch

from sparse_plugin.data.format import Found, formats, forms, no_columns
from sparse_plugin.data.images import DataError, Images, check_labels, choose, subset_name
from sparse_plugin.data.photographs import photographs
from sparse_plugin.data.source import Source
from sparse_plugin.support.files import reason

Split = str


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
    if size is not None and size < 1:
        raise DataError(f"images of {size}x{size} were asked for; give 1 pixel or more")
    if asked.path is None:
        if asked.download:
            raise _no_download("the set of built-in photographs")
        if asked.split is not None:
            raise DataError(
                f"the built-in photographs have no splits, and {asked.split!r} was asked; name the images of one split"
            )
        no_columns("the built-in photographs have", asked)
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


def _no_download(whose: str) -> DataError:
    words = ", ".join(name for each in formats() for name in each.names)
    return DataError(f"{whose} is not downloaded, and a download was asked for, which is of {words} alone; leave it out (--download)")


def _open(source: str, asked: Source) -> AbstractContextManager[Found]:
    """What the first format that knows source finds in it. Raises DataError where none does."""
    if not source:
        raise DataError(f"the data are an empty text; they are {forms()}")
    try:
        path = Path(source).expanduser()
        there = path.exists()
    except (OSError, RuntimeError) as error:
        raise DataError(f"the data {source} cannot be looked for: {reason(error)}") from None
    for each in formats():
        if each.recognises(path) if there else source in each.names:
            if asked.download and not each.names:
                raise _no_download(source)
            return each.open(path, asked)
    raise DataError(
        f"{source} is no data set; the data are {forms()}"
        if there
        else f"there is no file or folder {source}; the data are {forms()}"
    )

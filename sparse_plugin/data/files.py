"""Image files, wherever they lie, with the classes that their folders or a StyleGAN dataset.json give them."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_plugin.data import splits
from sparse_plugin.data.decode import MAX_BYTES, Pixels, decode
from sparse_plugin.data.format import named, no_columns
from sparse_plugin.data.images import DataError, numbered
from sparse_plugin.data.source import Source

log = logging.getLogger("sparse_plugin")

LABELS = "dataset.json"

# What file managers leave behind.
_LITTER = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir", "$recycle.bin", "lost+found"}
)


class Files(ABC):
    """The image files of one data set: names (relative to root, with slashes, sorted) and their content.

    empty: folders without files below them, as paths in the whole. root: the folder inside that wraps them, with a slash at
    its end, or "". split: which was taken, None where there is but one.
    """

    name: str
    names: list[str]
    empty: Sequence[str] = ()
    root: str = ""
    split: str | None = None

    @abstractmethod
    def _content(self, path: str) -> bytes:
        """The content of a file. Raises DataError, with its name, where it cannot be read or is too large."""

    def read(self, name: str) -> bytes:
        """The content of one of names. Raises DataError, with its name, where it cannot be read or is too large."""
        return self._content(self.root + name)

    def enter(self, split: str | None) -> None:
        """Leave the folders aside that wrap everything, and those of other splits than the one that is asked for.

        Raises SplitError where there are several and none is asked for, DataError where the asked one is not there.
        """
        asked = None if split is None else splits.canonical(split)
        seen: set[str] = set()
        while self.names:
            inside = {name.partition("/")[0] for name in self.names if "/" in name}
            of = splits.among(inside)
            seen |= {*of.values()}
            if asked is not None:
                chosen = {top for top in inside if of.get(top) == asked or top == split}
                if chosen and LABELS in self.names:
                    raise DataError(f"{self.name} has a {LABELS} for all its splits; give every split its own")
                if chosen:
                    self.split, asked = (asked, None) if chosen != inside else (None, None)
                    self.names = [name for name in self.names if name.partition("/")[0] in chosen]
                    if len(chosen) > 1:  # the two domains of unpaired translation stay apart, as classes
                        return
                    inside = chosen
            elif self.split is None and len({*of.values()}) > 1:
                raise splits.ask(self.name, of.values())
            if len(inside) != 1 or any("/" not in name for name in self.names):
                break
            top = inside.pop() + "/"
            self.root, self.names = self.root + top, [name[len(top) :] for name in self.names]
        self._within_classes(split, asked, seen)

    def _within_classes(self, split: str | None, asked: str | None, seen: set[str]) -> None:
        """The same where every class folder has a folder for each split."""
        second = {name: name.split("/")[1] for name in self.names if name.count("/") > 1}
        of = splits.among({*second.values()})
        if self.split is None and len(second) == len(self.names) and len({*of.values()}) > 1:
            if asked is None:
                raise splits.ask(self.name, of.values())
            names = [name for name in self.names if of.get(second[name]) == asked]
            if names:
                self.names, self.split, asked = names, asked, None
        if asked is not None and split is not None:
            raise splits.missing(self.name, split, seen | {*of.values()})

    def labelled(self) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...] | None]:
        """The labels of all images and the classes: of dataset.json where there is one, else the folders' names.

        Both None where all images lie at the top. Raises DataError where only some have a class.
        """
        text = self.read(LABELS) if LABELS in self.names else None
        self.names = [name for name in self.names if name != LABELS]
        if not self.names:
            raise DataError(f"{self.name} holds no images; name a folder, a zip, an npz or a parquet file of images")
        if text is not None:
            return _of_json(self.name, text, self.names)
        folders = [name.partition("/")[0] if "/" in name else "" for name in self.names]
        classes = tuple(sorted(set(folders)))
        if classes == ("",):
            return None, None
        if classes[0] == "":
            loose = self.names[folders.index("")]
            raise DataError(
                f"{self.name} holds class folders ({classes[1]}) and images beside them ({loose}); give every image a "
                "class folder, or none, and take out what is no image"
            )
        empty = sorted(name for name in map(self._beside_classes, self.empty) if name)
        if empty:
            log.warning("%s: folders that hold nothing are no classes: %s", self.name, ", ".join(empty[:5]))
        index = {name: i for i, name in enumerate(classes)}
        return np.array([index[folder] for folder in folders]), classes

    def _beside_classes(self, folder: str) -> str:
        """The name of a folder that lies where the folders of classes are, "" for any other."""
        name = folder.removeprefix(self.root)
        return name if folder == self.root + name and "/" not in name else ""


def without_files(folders: Iterable[str], names: Iterable[str]) -> list[str]:
    """The folders in which, and below which, there is no file of names."""
    full = {"/".join(parts[:i]) for parts in (name.split("/") for name in names) for i in range(1, len(parts))}
    return [folder for folder in folders if folder not in full]


class FoundFiles:
    """Image files as what `load` takes."""

    def __init__(self, files: Files, asked: Source) -> None:
        self.files, self.name = files, files.name
        no_columns(f"{files.name} has", asked)
        files.enter(asked.split)
        self.labels, self.classes = files.labelled()
        self.count = len(files.names)
        named(self, files.split)

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        """The chosen images, (N, 3, size, size)."""
        names = [self.files.names[i] for i in chosen]
        whole = [self.files.root + name for name in names]
        return decode(self.files.name, whole, lambda i: self.files.read(names[i]), size, resize)


def check_size(where: str, name: str, size: int) -> None:
    """Raise DataError where a file of so many bytes is larger than any image."""
    if size > MAX_BYTES:
        raise DataError(f"{where}: {name} has {size:,} bytes, more than any image of a data set; take it out")


def is_litter(part: str) -> bool:
    """Whether a part of a name is what file managers leave behind."""
    return part.startswith(".") or part.lower() in _LITTER


def _of_json(where: str, text: bytes, names: list[str]) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...] | None]:
    """What StyleGAN's dataset.json says: {"labels": [["00000/img0.png", 6], ...] or null, "classes": [names], optional}."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {LABELS} is no JSON: {error}") from None
    pairs = content.get("labels") if isinstance(content, dict) else ()
    if pairs is None:
        return None, None
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise DataError(f'{where}: {LABELS} has no "labels" of the form [["name", index], ...]')
    labels = {name.replace("\\", "/"): index for name, index in pairs}
    if len(labels) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in {before for before, _ in pairs[:i]})
        raise DataError(f"{where}: {LABELS} labels {twice} twice; give one label an image")
    for unmatched, what in ((set(names) - labels.keys(), "label"), (labels.keys() - set(names), "image")):
        if unmatched:
            raise DataError(f"{where}: {min(unmatched)} has no {what}; {LABELS} and the images do not fit together")
    array = np.array([labels[name] for name in names], np.int64)
    if "classes" not in content:
        return array, numbered(array, where)
    classes = content["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise DataError(f'{where}: "classes" of {LABELS} is no list of names')
    return array, tuple(classes)


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and type(pair[1]) is int
        and abs(pair[1]) < 2**63
    )

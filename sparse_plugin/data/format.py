"""`Format`: a form that images are stored in, and the table of them; one file each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sparse_plugin.data.images import DataError
from sparse_plugin.data.source import Source
from sparse_plugin.support.plugins import Plugins, called_from

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sparse_plugin.data.decode import Pixels


class Found(Protocol):
    """Images that are not decoded yet, with the labels of all of them, (count,) int64, and the classes' names; or None."""

    name: str
    count: int
    labels: npt.NDArray[np.int64] | None
    classes: tuple[str, ...] | None

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        """The chosen ones, decoded: (N, 3, size, size), uint8; with size None, of the size that they have."""


@dataclass(frozen=True)
class Format:
    """recognises: whether a path that is there is of this form. open: opens it, as a context manager; raises DataError, which
    names the file, for what is damaged or cannot be told. names: words that stand for data of this form without a path;
    word, endings: what the form is called in sentences, and how its files end. order: which is asked first.
    """

    recognises: Callable[[Path], bool]
    open: Callable[[Path, Source], AbstractContextManager[Found]]
    names: tuple[str, ...] = ()
    word: str = ""
    endings: tuple[str, ...] = ()
    order: int = 100

    @classmethod
    def of_files(cls, ending: str, open: Callable[[Path, Source], AbstractContextManager[Found]], order: int = 100) -> Format:
        """That of all files that end so."""
        return cls(lambda path: path.suffix.lower() == ending and not path.is_dir(), open, endings=(ending,), order=order)


FORMATS: Plugins[Format] = Plugins("format", ("recognises", "open", "names", "endings", "order"), "a Format object")


def register_format(name: str, found: Format) -> Format:
    """Register a format in this process, under name. Returns it. Raises ConfigError where another owner has the name."""
    FORMATS.register(name, found, called_from())
    return found


def formats() -> list[Format]:
    """The formats that load, in the order in which they are asked."""
    return [found for _, found in sorted(FORMATS.usable(), key=lambda pair: (pair[1].order, pair[0]))]


def forms() -> str:
    """What data may be, for people: "cifar10, a folder, or a .zip, .npz or .parquet file"."""
    known = formats()
    words = [name for each in known for name in (*each.names, each.word) if name]
    *some, last = [ending for each in known for ending in each.endings] or [""]
    return f"{', '.join(words)}, or a {', '.join(some)} or {last} file"


F = TypeVar("F", bound=Found)


def named(found: F, split: str | None) -> F:
    """The same, called by the split that was taken of several."""
    if split is not None:
        found.name = f"the {split} images of {found.name}"
    return found


def no_columns(whose: str, asked: Source) -> None:
    """Raise DataError where columns are asked for of what has none."""
    for name in (asked.image_column, asked.label_column):
        if name is not None:
            raise DataError(f"{whose} no columns, and {name!r} was asked; columns are those of parquet and npz")

"""The splits of a data set: train, val and test, under the names that folders, files and arrays give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sparse_plugin.data.images import DataError

_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLITS = {name: split for split, names in _NAMES.items() for name in names}


class SplitError(DataError):
    """Several splits beside each other, of which none was asked for."""


def canonical(split: str) -> str:
    """ "val" for "valid", "validation" and "dev", and so on; any other name as it is."""
    return _SPLITS.get(split.lower(), split)


def of_name(name: str) -> str | None:
    """The split that a whole name says, numbers aside: "train", "Val", "test1", "trainA"."""
    word = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", name)
    paired = word[:-1] if word[-1:] in ("A", "B") else word  # unpaired translation has its two domains so
    return _SPLITS.get(word.lower()) or _SPLITS.get(paired.lower())


def in_name(name: str) -> str | None:
    """The one split that a word of a name says: "DIV2K_train_HR", "x_test"."""
    found = {_SPLITS[word] for word in re.split(r"[\W\d_]+", name.lower()) if word in _SPLITS}
    return found.pop() if len(found) == 1 else None


def among(names: Collection[str]) -> dict[str, str]:
    """The splits that names beside each other are of, by name.

    A word of a name counts only where every name has one: a class may be called "bullet_train".
    """
    found = {name: split for name in names if (split := of_name(name)) is not None}
    if len(set(found.values())) < 2:
        worded = {name: split for name in names if (split := in_name(name)) is not None}
        if len(worded) == len(names) and len(set(worded.values())) > 1:
            return worded
    return found


def ask(whose: str, splits: Iterable[str]) -> SplitError:
    """The refusal of several splits of which none was asked for."""
    listed = sorted(set(splits))
    return SplitError(
        f"{whose} holds the splits {', '.join(listed)} beside each other, which are not taken together; ask for one "
        f"with --split {listed[-1]} (split={listed[-1]!r})"
    )


def missing(whose: str, split: str, splits: Iterable[str] = ()) -> DataError:
    """The refusal of a split that is not there."""
    listed = ", ".join(sorted(set(splits)))
    if listed:
        return DataError(f"{whose} has no split {split!r}; it has {listed}")
    return DataError(f"{whose} has no splits, and {split!r} was asked; name the images of one split")

"""Class labels as people store them: numbers, names, truth values, one-hot rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_plugin.data.images import MAX_CLASSES, DataError, numbered

log = logging.getLogger("sparse_plugin")

Labels = npt.NDArray[np.int64]
Labelled = tuple[Labels | None, tuple[str, ...] | None]

# Longer than any class is called: such a label is a text.
_MAX_NAME = 200


def classes_of(where: str, values: npt.NDArray[Any] | Sequence[Any], names: Sequence[str] | None = None) -> Labelled:
    """The class of every image, (N,), int64, and the classes' names.

    values: (N,) or (N, 1), integers, integral floats, truth values or strings; or (N, classes), one-hot. names: of the
    classes that integers number; strings are their own, sorted. Labels that are all -1, as the Hub writes where it keeps
    them back, are none. Raises DataError, which says where, for labels that tell no class.
    """
    if not isinstance(values, np.ndarray) and _are_names(where, values):
        return _of_names(where, list(values))
    array = values if isinstance(values, np.ndarray) else _array(where, values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        array, width = _of_one_hot(where, array), array.shape[1]
        names = tuple(map(str, range(width))) if names is None else names
    if array.ndim != 1:
        raise DataError(f"{where}: the labels are an array {array.shape}; give one label an image")
    if array.dtype.kind in "US":
        return _of_names(where, array.tolist())
    if array.dtype.kind not in "iufb":
        raise DataError(f"{where}: the labels are {array.dtype}, which is no class; give numbers from 0 or names")
    if array.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))
        if len(wrong):
            raise DataError(f"{where}: image {wrong[0]} has the label {array[wrong[0]]}, which is no class number")
    if len(array) and (array == -1).all():
        return None, None
    if len(array) and not (array.min() >= 0 and array.max() < MAX_CLASSES):
        raise DataError(f"{where}: the labels are no class numbers, from 0 to below {MAX_CLASSES:,}")
    labels = array.astype(np.int64)
    if names is not None:
        return labels, tuple(names)
    classes = numbered(labels, where)
    empty = set(range(len(classes))) - set(labels.tolist())
    if empty:
        log.warning("%s: no image has the class %d, of 0 to %d", where, min(empty), len(classes) - 1)
    return labels, classes


def _are_names(where: str, values: Sequence[Any]) -> bool:
    """Whether the values are strings. Raises DataError for what is neither a name, a number nor a list."""
    missing = next((i for i, value in enumerate(values) if value is None), None)
    if missing is not None:
        raise DataError(f"{where}: image {missing} has no label; label every image, or none")
    kinds = {type(value) for value in values}
    if not (kinds in ({str}, {bytes}, {list}) or kinds <= {int, float, bool}):
        listed = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"{where}: the labels are {listed}, which are no classes; give numbers from 0 or names")
    if kinds not in ({str}, {bytes}):
        return False
    if any(len(value) > _MAX_NAME for value in values):
        raise DataError(f"{where}: a label is longer than {_MAX_NAME} characters; give the names of classes")
    return True


def _array(where: str, values: Sequence[Any]) -> npt.NDArray[Any]:
    try:
        return np.array(values)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: the labels are lists of several lengths; give one label an image") from None


def _of_one_hot(where: str, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if rows.dtype.kind in "iufb":
        hot = rows == 1
        if (hot.sum(1) == 1).all() and ((rows == 0) | hot).all():
            found: npt.NDArray[Any] = hot.argmax(1)
            return found
    raise DataError(f"{where}: every image has {rows.shape[1]} labels, which are not one-hot; give one label an image")


def _of_names(where: str, values: list[str] | list[bytes]) -> Labelled:
    try:
        names = [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError:
        raise DataError(f"{where}: the labels are bytes that are no UTF-8; give numbers from 0 or names") from None
    if "" in names:
        raise DataError(f"{where}: image {names.index('')} has no label; label every image, or none")
    classes = tuple(sorted(set(names)))
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in names], np.int64), classes

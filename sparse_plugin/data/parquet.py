"""Tables of images: parquet as Hugging Face, pandas and others write it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparse_plugin.data import splits
from sparse_plugin.data.decode import MAX_BYTES, Pixels, check_memory, decode
from sparse_plugin.data.format import Format, named
from sparse_plugin.data.images import DataError
from sparse_plugin.data.labels import classes_of
from sparse_plugin.data.source import Source
from sparse_plugin.support.files import reason
from sparse_plugin.support.optional import need

log = logging.getLogger("sparse_plugin")

# Rows that are read at once: with the largest image in each, they fit.
_ROWS = 16


class Parquet:
    """Tables with a column of encoded images, and a column of labels where there is one.

    asked: its image_column and label_column say which; else they are told by the description that Hugging Face keeps in
    the file, by their names ("image" or "img", "label" or "labels"), or by being the only one. Raises DataError where that
    leaves several, where a table is damaged or of other columns than the first, and where a label is no class.
    """

    def __init__(self, name: str, paths: Sequence[Path], asked: Source) -> None:
        need("reading parquet", "data", "pyarrow")
        self.name, self._paths = name, paths
        try:
            self._open(asked)
        except DataError:
            raise
        except Exception as error:  # a reader may raise anything over a damaged file
            raise DataError(f"{name} is no parquet that can be read: {reason(error)}") from None

    def _open(self, asked: Source) -> None:
        import pyarrow.parquet

        self._files = [pyarrow.parquet.ParquetFile(path) for path in self._paths]
        self.count = sum(file.metadata.num_rows for file in self._files)
        schema = self._files[0].schema_arrow
        features = _features(self.name, schema)
        self._column = _image_column(self.name, schema, features, asked.image_column)
        column = _label_column(self.name, schema, features, asked.label_column)
        for path, file in zip(self._paths, self._files, strict=True):
            for needed in filter(None, (self._column, column)):
                if file.schema_arrow.names.count(needed) != 1:
                    raise DataError(f"{self.name}: {path.name} has no one column {needed}; it has {_listed(file)}")
        self.labels, self.classes = None, None
        if column is not None:
            names = _class_names(self.name, features.get(column))
            values: list[Any] = []
            for path, file in zip(self._paths, self._files, strict=True):
                theirs = _class_names(self.name, _features(self.name, file.schema_arrow).get(column))
                if theirs != names:
                    raise DataError(f"{self.name}: {path.name} names other classes than {self._paths[0].name}")
                values += _values(f"{self.name}: the column {column}", path, file, column)
            self.labels, self.classes = classes_of(self.name, values, names)

    def pixels(self, chosen: npt.NDArray[np.int64], size: int | None, resize: bool) -> Pixels:
        """The chosen images, (N, 3, size, size)."""
        files: list[bytes] = []
        held = 0
        try:
            wanted, row = set(chosen.tolist()), 0
            for file in self._files:
                for batch in file.iter_batches(_ROWS, columns=[self._column]):
                    column = _contents(batch.column(self._column))
                    for i in range(len(batch)):
                        if row + i in wanted:
                            files.append(_content(self.name, row + i, column[i].as_py()))
                            held += len(files[-1])
                    check_memory(f"{self.name}: its encoded images", held)
                    row += len(batch)
        except DataError:
            raise
        except Exception as error:  # see above
            raise DataError(f"{self.name} is damaged: {reason(error)}") from None
        if len(files) != len(chosen):
            raise DataError(f"{self.name} is damaged: it has {len(files)} of {len(chosen)} rows")
        return decode(self.name, [f"row {i}" for i in chosen], files.__getitem__, size, resize)


def of_split(name: str, root: Path, tables: list[Path], split: str | None) -> tuple[list[Path], str | None]:
    """The tables of one split, and which that is, None where there is but one.

    A file's first word or a folder's name says it, as the Hub writes them: train-00000-of-00001.parquet, val/0000.parquet.
    Where none is asked for it is train. Raises DataError where the asked one is not there, or train is not and others are.
    """
    of = {table: _split_of(table, root) for table in tables}
    known = {found for found in of.values() if found is not None}
    wanted = splits.canonical(split) if split is not None else "train" if "train" in known else None
    if wanted is None:
        if len(known) > 1 or (known and None in of.values()):
            raise splits.ask(name, (found or "others" for found in of.values()))
        return tables, None
    chosen = [table for table in tables if of[table] == wanted or (split and split in (table.stem, table.parent.name))]
    if not chosen:
        raise DataError(
            f"{name} has no {split}-*.parquet"
            + (f", but {', '.join(sorted(known))}" if known else "")
            + f"; name the file of the {split} images"
        )
    return chosen, None if len(chosen) == len(tables) else wanted


def _say_missing(name: str, tables: list[Path]) -> None:
    """Warn where a folder lacks files of those that its files count: train-00000-of-00002.parquet without the other."""
    counted: dict[tuple[Path, str, int], set[int]] = {}
    for table in tables:
        if found := re.fullmatch(r"(.*?)(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?", table.stem):
            counted.setdefault((table.parent, found[1], int(found[3])), set()).add(int(found[2]))
    for (_, first, count), there in counted.items():
        if len(there) < count:
            said = "%s: of the %d files %s*-of-%05d.parquet there are %d; the images in the others are left out"
            log.warning(said, name, count, first, count, len(there))


def _split_of(table: Path, root: Path) -> str | None:
    folders = () if table == root else table.relative_to(root).parts[:-1]
    first = table.stem.replace(".", "-").replace("_", "-").partition("-")[0]
    return next((found for part in (first, *reversed(folders)) if (found := splits.of_name(part))), None)


def _features(name: str, schema: Any) -> dict[str, Any]:
    """The description of the columns that Hugging Face keeps in the file; none where there is none that can be read."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        found: Any = json.loads(text)
        for key in ("info", "features"):
            found = found[key]
        if isinstance(found, dict):
            return found
        why = f"its features are no mapping but a {type(found).__name__}"
    except KeyError:
        return {}
    except (ValueError, RecursionError, TypeError) as error:
        why = reason(error)
    log.warning("%s: what it says of its columns (huggingface) cannot be read and is left aside: %s", name, why)
    return {}


def _is_a(feature: Any, kind: str) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == kind


def _class_names(name: str, feature: Any) -> tuple[str, ...] | None:
    if not _is_a(feature, "ClassLabel") or feature.get("names") is None:
        return None
    names = feature["names"]
    if isinstance(names, list) and names and all(isinstance(each, str) for each in names):
        return tuple(names)
    log.warning("%s: the names of its classes are no list of strings; they are numbered", name)
    return None


def _image_column(name: str, schema: Any, features: dict[str, Any], asked: str | None) -> str:
    import pyarrow

    def holds_files(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            place = kind.get_field_index("bytes")
            return bool(place >= 0) and holds_files(kind.field(place).type)
        return any(
            getattr(pyarrow.types, f"is_{what}", lambda kind: False)(kind)
            for what in ("binary", "large_binary", "fixed_size_binary", "binary_view")
        )

    kinds = {field.name: field.type for field in schema}
    columns = [column for column, kind in kinds.items() if holds_files(kind)]
    if asked is not None:
        if asked in columns:
            return asked
        there = f"is {kinds[asked]}" if asked in kinds else "is not there"
        raise DataError(
            f"{name}: the image column {asked} {there}; "
            + (f"name one of {', '.join(columns)}" if columns else "no column holds encoded images")
        )
    if not columns:
        listed = ", ".join(schema.names)
        stored = [column for column in ("image", "img", "images", "path", "file_name") if column in kinds]
        hint = f" ({stored[0]} is {kinds[stored[0]]}; write the files' bytes into the table)" if stored else ""
        raise DataError(f"{name} has no column of encoded images; its columns are {listed}{hint}")
    described = [column for column in columns if _is_a(features.get(column), "Image")]
    return _one(name, "images", described or columns, ("image", "img"), "--image-column")


def _label_column(name: str, schema: Any, features: dict[str, Any], asked: str | None) -> str | None:
    if asked is not None:
        if asked in schema.names:
            return asked
        raise DataError(f"{name} has no column {asked}; its columns are {', '.join(schema.names)}")
    described = [c for c in schema.names if _is_a(features.get(c), "ClassLabel")]
    usual = [column for column in ("label", "labels") if column in schema.names]
    return (
        _one(name, "labels", described, ("label", "labels"), "--label-column") if described else next(iter(usual), None)
    )


def _one(name: str, what: str, columns: list[str], usual: tuple[str, ...], flag: str) -> str:
    if len(columns) == 1:
        return columns[0]
    found = next((column for column in usual if column in columns), None)
    if found is None:
        raise DataError(f"{name} has several columns of {what}: {', '.join(columns)}; name one by {flag}")
    return found


def _values(where: str, path: Path, file: Any, column: str) -> list[Any]:
    """The values of a column. Strings are read by their dictionary, so that no repetition of them fills the memory."""
    import pyarrow
    import pyarrow.parquet

    kind = file.schema_arrow.field(column).type
    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    types = pyarrow.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=[column])
    elif types.is_decimal(kind) or (types.is_nested(kind) and not _holds_numbers(kind)):
        raise DataError(f"{where} is {kind}, which tells no class; name another by --label-column")
    values: list[Any] = []
    for chunk in file.read([column]).column(column).chunks:
        if types.is_dictionary(chunk.type):
            names = chunk.dictionary.to_pylist()
            values += [None if i is None else names[i] for i in chunk.indices.to_pylist()]
        else:
            values += chunk.to_pylist()
    return values


def _holds_numbers(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)))


def _contents(column: Any) -> Any:
    """The bytes of a column, of structs with a path beside them too."""
    import pyarrow

    if not pyarrow.types.is_struct(column.type):
        return column
    return column.flatten()[column.type.get_field_index("bytes")]


def _content(name: str, row: int, content: Any) -> bytes:
    if not content:
        raise DataError(
            f"{name}: row {row} holds no image file, only a path or nothing; write the images into the table"
        )
    if len(content) > MAX_BYTES:
        raise DataError(f"{name}: row {row} has {len(content):,} bytes, more than any image of a data set")
    return bytes(content)


def _listed(file: Any) -> str:
    return ", ".join(file.schema_arrow.names)


def _tables(path: Path) -> list[Path]:
    """A parquet file, or those below a folder, hidden folders aside."""
    if path.suffix.lower() == ".parquet" and path.is_file():
        return [path]
    found = sorted(table for table in path.rglob("*.parquet") if table.is_file())
    return [table for table in found if not any(part.startswith(".") for part in table.relative_to(path).parts)]


@contextmanager
def _opened(path: Path, asked: Source) -> Iterator[Parquet]:
    chosen, split = of_split(path.name, path, _tables(path), asked.split)
    if chosen != [path]:
        _say_missing(path.name, chosen)
    yield named(Parquet(path.name, chosen, asked), split)


FORMAT = Format(lambda path: bool(_tables(path)), _opened, endings=(".parquet",), order=30)

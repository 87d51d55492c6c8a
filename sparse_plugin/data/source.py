"""`Source`: where images are, and how they are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.data.images import DataError
from sparse_plugin.data.splits import canonical


@dataclass(frozen=True)
class Source:
    """What `load` reads, and `train`, `evaluate` and `experiment` take as data.

    path: as for `load`. split: the one to take, such as "train" or "test", where the data have several; the names that
    people use ("valid", "validation", "dev") are one. image_column, label_column: of a table, or arrays of an npz. resize:
    cut images of another size to their central square and scale them. download: fetch "cifar10" where it is missing.
    """

    path: str | None = None
    split: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    resize: bool = False
    download: bool = False

    @classmethod
    def of(cls, data: str | Path | Source | None, **asked: Any) -> Source:
        """Of a path, or of a source, beside which nothing may be asked for. Raises DataError for what is both."""
        if not isinstance(data, Source):
            return cls(None if data is None else str(data), **asked)
        twice = [name for name, value in asked.items() if value]
        if twice:
            raise DataError(
                f"{', '.join(twice)} was given beside a Source, which says it itself; give it in the Source"
            )
        return data

    def reading(self) -> dict[str, Any]:
        """What of it decides which images these are, path aside: only what was asked for."""
        asked = {
            "split": None if self.split is None else canonical(self.split),
            "image_column": self.image_column,
            "label_column": self.label_column,
            "resize": self.resize,
        }
        return {name: value for name, value in asked.items() if value}

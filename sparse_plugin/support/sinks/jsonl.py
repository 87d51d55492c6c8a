"""Measurements as JSON lines, each with everything that was measured at one site and level."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_plugin.support.files import Log
from sparse_plugin.support.sinks.sink import Sink


class Jsonl(Sink):
    """A file that is opened for appending. A line that cannot be written is lost, with a warning once."""

    def __init__(self, file: Callable[[], Path | None]) -> None:
        super().__init__(file)
        self._log = Log()

    def write(
        self, step: int, records: Sequence[Mapping[str, Any]], scalars: Mapping[str, Mapping[str, float]]
    ) -> str | None:
        """Append one line a record."""
        path = self.file()
        if path is None:
            return None
        for record in records:
            self._log.append(path, {"time": round(time.time(), 3), **record})
        return str(path)

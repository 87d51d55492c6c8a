"""Measurements as scalars of a TensorBoard writer that the host has open."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparse_plugin.support.living import Living
from sparse_plugin.support.sinks.sink import LiveSink

_MODULES = ("torch.utils.tensorboard.writer", "tensorboardX.writer")


class TensorBoard(LiveSink):
    """The open SummaryWriter whose folder stands highest; of several, the one that was opened first, for as long as it is open."""

    packages = ("tensorboard", "tensorboardX")
    waits_for = "SummaryWriter of torch.utils.tensorboard or tensorboardX"

    def __init__(self, file: Callable[[], Path | None]) -> None:
        super().__init__(file)
        self._find = Living(_classes)
        self._found: weakref.ref[Any] | None = None

    def live(self) -> Any | None:
        """The writer."""
        writer = None if self._found is None else self._found()
        if writer is None or not _open(writer):
            writer = min(filter(_open, self._find()), key=_precedence, default=None)
            self._found = None if writer is None else weakref.ref(writer)
        return writer

    def put(self, target: Any, step: int, root: str, scalars: Mapping[str, float]) -> str:
        """Add the scalars at the generator's step."""
        for name, value in scalars.items():
            target.add_scalar(f"{root}/{name}", value, step)
        return f"TensorBoard, {target.file_writer.get_logdir()}"


def _classes() -> Iterator[type]:
    for name in _MODULES:
        cls = getattr(sys.modules.get(name), "SummaryWriter", None)
        if isinstance(cls, type):
            yield cls


def _open(writer: Any) -> bool:
    """Whether a writer was not closed, and writes from this process.

    Adding to a closed one would open a new file; to one that a fork copied, whose thread stayed behind, would wait for ever.
    """
    if not getattr(writer, "all_writers", None):
        return False
    events = getattr(getattr(writer, "file_writer", None), "event_writer", None)
    thread = getattr(getattr(events, "_async_writer", events), "_worker", None)
    return thread is None or bool(thread.is_alive())


def _precedence(writer: Any) -> tuple[int, list[int], str]:
    """How deep the folder of a writer is, and when it was opened, as its file's name tells."""
    folder, events = str(writer.file_writer.get_logdir()), getattr(writer.file_writer, "event_writer", None)
    file = getattr(getattr(events, "_ev_writer", events), "_file_name", "")
    return len(Path(folder).parts), [int(number) for number in re.findall(r"\d+", Path(file).name)], folder

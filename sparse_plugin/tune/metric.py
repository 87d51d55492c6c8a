"""Numbers that a trainer writes by itself, read as its score: "tensorboard:TAG", "jsonl:FILE:KEY", "regex:PATTERN"."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.support.files import reason
from sparse_plugin.support.optional import need

KINDS = ("tensorboard", "jsonl", "regex")
WAYS = '"tensorboard:TAG", "jsonl:FILE:KEY", "regex:PATTERN"'


class MetricMissing(ConfigError):
    """A number that a run did not write where it was looked for."""


@dataclass(frozen=True)
class Written(ABC):
    """A number that a trainer writes again and again. text: as it was asked for."""

    text: str

    @abstractmethod
    def values(self, run: Path, output: Path) -> list[float]:
        """All that were written, in order. run: the run's directory. output: what it printed. Raises MetricMissing."""


@dataclass(frozen=True)
class InTensorboard(Written):
    """A scalar of a tag, in the event files below the run's directory; or of FOLDER/TAG, where several folders have the tag."""

    tag: str

    def values(self, run: Path, output: Path) -> list[float]:
        """By step, the later of two that were written at one. Raises MetricMissing also where it is two scalars."""
        folders = sorted({file.parent for file in run.rglob("events.out.tfevents.*")})
        if not folders:
            raise MetricMissing(f"no event file of TensorBoard was written below {run}; {_there(run)}")
        every = {}
        for folder in folders:
            at = folder.relative_to(run).as_posix()
            for tag, events in _scalars(folder).items():
                every["" if at == "." else at, tag] = events
        named = {"/".join(filter(None, key)): events for key, events in every.items()}
        found = {name: events for name, events in named.items() if name == self.tag} or {
            "/".join(filter(None, key)): events for key, events in every.items() if key[1] == self.tag
        }
        if not found:
            raise MetricMissing(f"no scalar {self.tag!r} was written to TensorBoard below {run}; {_listed('scalars', named)}")
        steps = [step for events in found.values() for step in {event[0] for event in events}]
        if len(steps) > len(set(steps)):  # as `add_scalars` writes them, a folder each
            raise MetricMissing(f"{self.tag!r} is several scalars below {run}; name one: {', '.join(sorted(found))}")
        return [value for *_, value in sorted(event for events in found.values() for event in events)]


def _scalars(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Step, time and value of the scalars in the event files of a folder, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    found = {tag: [(e.step, e.wall_time, float(e.value)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["tensors"]:
        with suppress(TypeError, ValueError):  # a text
            found[tag] = [(e.step, e.wall_time, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
    return found


@dataclass(frozen=True)
class InLines(Written):
    """A key of the records of a file of JSON lines, in the run's directory; of nested ones with points between."""

    file: str
    key: str

    def values(self, run: Path, output: Path) -> list[float]:
        """Line by line."""
        path = run / self.file
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise MetricMissing(f"{path} cannot be read: {reason(error)}; {_there(run)}") from None
        found: list[float] = []
        keys: set[str] = set()
        for line in lines:
            with suppress(ValueError, RecursionError, OverflowError):
                record = json.loads(line)
                keys |= set(record) if isinstance(record, dict) else set()
                value = _at(record, self.key)
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    found.append(float(value))
        if not found:
            raise MetricMissing(f"no number {self.key!r} stands in a line of {path}; {_listed('keys', keys)}")
        return found


def _at(record: Any, key: str) -> Any:
    if isinstance(record, dict) and key in record:
        return record[key]
    first, _, rest = key.partition(".")
    return _at(record.get(first), rest) if rest and isinstance(record, dict) else None


@dataclass(frozen=True)
class InOutput(Written):
    """What a regular expression finds in what the run prints: its first group, or all of it."""

    pattern: str

    def values(self, run: Path, output: Path) -> list[float]:
        """Match by match."""
        text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
        found = []
        for match in re.finditer(self.pattern, text, re.MULTILINE):
            number = match[1] if match.re.groups else match[0]
            try:
                found.append(float(number))
            except (TypeError, ValueError):
                raise MetricMissing(
                    f"the pattern {self.pattern!r} finds {number!r} in {output}, which is no number; put the number in parentheses"
                ) from None
        if not found:
            raise MetricMissing(f"the pattern {self.pattern!r} is found nowhere in {output}")
        return found


def parse(text: str) -> Written | None:
    """What is to be read; None for the name of a metric that is measured. Raises ConfigError for one that cannot be read."""
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        return None
    if kind == "tensorboard" and rest:
        need("reading TensorBoard", "train", "tensorboard")
        return InTensorboard(text, rest)
    if kind == "jsonl":
        file, _, key = rest.rpartition(":")
        if file and key:
            return InLines(text, file, key)
    if kind == "regex" and rest:
        try:
            re.compile(rest)
        except re.error as error:
            raise ConfigError(f"--metric {text!r} has no regular expression: {error}") from None
        return InOutput(text, rest)
    raise ConfigError(f"--metric {text!r} cannot be read; write {WAYS}")


def _listed(what: str, found: Iterable[str]) -> str:
    names = sorted(found)
    return f"the {what} there are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else f"there are no {what}"


def _there(run: Path) -> str:
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()) if run.is_dir() else []
    return _listed("files", files)

"""Finished runs as lines of a JSON file: all that tables, figures and words are made from, without the runs.

One line a run: its configuration, what it was made with, the scores at every measured step, the statistics of Γ, the
hashes of code and data. A run that is recorded again, measured at more steps, say, takes its line's place.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sparse_plugin.errors import CheckpointError
from sparse_plugin.evaluate.outcome import Outcome
from sparse_plugin.experiments import restored
from sparse_plugin.experiments.restored import Restored
from sparse_plugin.runs import environment
from sparse_plugin.runs.config import RunSettings
from sparse_plugin.runs.methods import label_of
from sparse_plugin.runs.rundir import LOG
from sparse_plugin.support.files import append, make_folder, unwritten
from sparse_plugin.support.files import lines as read_log

VERSION = 1
# The kinds of lines; those of GANs, which there were before there were kinds, do not say theirs.
TRAINING, RESTORATION = "training", "restoration"
# Of a run's configuration, what stands in its line. The recipe is told by its hash, title and source.
CONFIG = ("steps", "size", "classes", "accumulation", "arch", "width", "batch", "precision", "seed", "sparse", "data")


@dataclass(frozen=True)
class Record:
    """One line. method: its label. scores: value and deviation by step and metric. levels: as of `Outcome`. pace: median
    seconds a step. made_with: as `environment.describe` says, the latest first; [] where it was not kept.
    """

    id: str
    method: str
    config: RunSettings
    recipe: dict[str, str]
    scores: dict[int, dict[str, tuple[float, float | None]]]
    levels: list[dict[str, Any]]
    protocol: dict[str, str]
    made_with: list[dict[str, Any]]
    pace: float | None

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.config.seed)

    @property
    def sparsity(self) -> float:
        """The percentage of non-zeros of Γ_1 as D1 consumes it."""
        return float(self.levels[0]["sparsity"])

    def value(self, metric: str, step: int) -> float | None:
        """A score, None where it was not measured."""
        found = self.scores.get(step, {}).get(metric)
        return None if found is None else found[0]


def of(found: Outcome) -> Record:
    """The record of a finished run."""
    config = {name: value for name, value in found.config.to_json().items() if name in CONFIG}
    recipe = found.config.recipe
    short = {"title": recipe["title"], "source": recipe.get("source", ""), "sha256": _digest(dict(recipe))}
    return Record(
        _digest(
            {**config, "data": config["data"].get("sha256"), "recipe": short["sha256"], "protocol": found.protocol}
        ),
        found.label,
        RunSettings.from_json(config),
        short,
        {
            step: _measured({name: (score["value"], score["deviation"]) for name, score in scores.items()})
            for step, scores in found.by_step.items()
        },
        found.levels,
        found.protocol,
        environment.read(found.run)[::-1],
        _pace(found.run / LOG, config["batch"]),
    )


def _measured(scores: Mapping[str, tuple[Any, float | None]]) -> dict[str, tuple[float, float | None]]:
    """Those that are finite numbers: others stand for nothing that was measured."""
    found = {name: (float("nan" if value is None else value), deviation) for name, (value, deviation) in scores.items()}
    return {name: score for name, score in found.items() if math.isfinite(score[0])}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _pace(log: Path, batch: int) -> float | None:
    """Median seconds a step between two lines of a run's log."""
    if not log.is_file():
        return None
    paces = [batch / record["images_per_second"] for record in read_log(log) if record.get("images_per_second")]
    return round(median(paces), 4) if paces else None


def _plain(record: Record | Restored) -> dict[str, Any]:
    kind = {"kind": RESTORATION} if isinstance(record, Restored) else {}
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    config = record.config.to_json()
    values["config"] = {name: config[name] for name in CONFIG} if isinstance(record, Record) else config
    return {"version": VERSION, **kind, **values}


def read(path: Path) -> list[Record]:
    """The trained runs of a file, in the order of their first lines; of several with one id the last; [] where there is none.

    Raises CheckpointError for a line, of these or of others, that is no record.
    """
    return [record for record in _all(path) if isinstance(record, Record)]


def restorations(path: Path) -> list[Restored]:
    """The restorations of a file, as `read` does the trained runs."""
    return [record for record in _all(path) if isinstance(record, Restored)]


def _all(path: Path) -> list[Record | Restored]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; name a file that `experiment --record` wrote") from None
    parsed = (_parsed(line, path, number) for number, line in enumerate(lines, 1) if line.strip())
    return list({record.id: record for record in parsed}.values())


def _parsed(line: str, path: Path, number: int) -> Record | Restored:
    try:
        found = json.loads(line)
        version = found.pop("version")
        if version != VERSION:
            raise ValueError(f"it is of version {version!r}, and {VERSION} is read here")
        kind = found.pop("kind", TRAINING)
        if kind not in (TRAINING, RESTORATION):
            raise CheckpointError(
                f"{path}, line {number}: this is a record of the kind {kind!r}, and {TRAINING} and {RESTORATION} are read "
                "here; read the file with the version of sparse_plugin that wrote the line, or take the line out"
            )
        if kind == RESTORATION:
            return restored.parsed(found)
        found["scores"] = {
            int(step): _measured({name: (value, deviation) for name, (value, deviation) in scores.items()})
            for step, scores in found["scores"].items()
        }
        record = Record(**{**found, "config": RunSettings.from_json({name: found["config"][name] for name in CONFIG})})
        if label_of(record.config.sparse) != record.method:
            raise ValueError(f"its method is {record.method!r}, and its configuration another")
        _ = (record.seed, record.sparsity, record.recipe["title"])
        return record
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"{path}, line {number}: this is no record of a run: {type(error).__name__}: {error}; delete that line, and "
            "record the run again with `experiment --record`"
        ) from None


def add(path: Path, records: Iterable[Record | Restored]) -> int:
    """Append the records that a file has not, or has otherwise. Returns how many. Raises OutputError.

    It is only ever appended to, so that several processes may record into one file.
    """
    there = {record.id: record for record in _all(path)}
    new = [record for record in records if there.get(record.id) != record]
    try:
        for record in new:
            make_folder(path.parent)
            append(path, _plain(record))
    except OSError as error:
        raise unwritten(path, error) from None
    return len(new)

"""Comparing recorded runs: which belong together, their pairs by seed, and what each method came to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.experiments import statistics
from sparse_plugin.experiments.records import Record
from sparse_plugin.experiments.statistics import Change
from sparse_plugin.runs.config import RunSettings
from sparse_plugin.runs.methods import VANILLA, Method

# Lower is better in all of them; the first that all runs have is the primary one.
PRIMARY = ("FID", "FD-lite0")
# Measurements from this share of a run's steps on are late.
LATE = 0.6


@dataclass(frozen=True)
class Compared:
    """A method against another: its label, the other's, and the change, None where there are no pairs."""

    method: str
    base: str
    change: Change | None


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in nothing but method and seed. metric: the primary one; late: the steps over which it is a mean.
    left_out: runs that were not measured at all of them. compared: all comparisons, judged together. apart: what tells it from
    other groups that are called alike.
    """

    records: tuple[Record, ...]
    metric: str
    late: tuple[int, ...]
    left_out: tuple[Record, ...]
    compared: tuple[Compared, ...]
    apart: tuple[str, ...] = ()

    @property
    def config(self) -> RunSettings:
        """What the runs have in common, and the first's own."""
        return self.records[0].config

    @property
    def methods(self) -> tuple[str, ...]:
        """Their labels, vanilla first, then in the order of the records."""
        labels = dict.fromkeys(record.method for record in self.records)
        return tuple(sorted(labels, key=lambda label: label != VANILLA))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of any of the runs, rising."""
        return tuple(sorted({record.seed for record in self.records}))

    @property
    def followed(self) -> bool:
        """Whether the runs were measured at several steps."""
        return len(self.records[0].scores) > 1

    def of(self, method: str) -> list[Record]:
        """The runs of a method, by seed."""
        return sorted((r for r in self.records if r.method == method), key=lambda record: record.seed)

    def primary(self, record: Record) -> float:
        """The mean of the primary metric over the late measurements."""
        return mean(record.scores[step][self.metric][0] for step in self.late)


def groups(records: Iterable[Record]) -> list[RunGroup]:
    """The groups of records that have a primary metric, the largest first."""
    apart: dict[str, list[Record]] = {}
    for record in records:
        if (metric := primary_of(record)) is not None:
            apart.setdefault(json.dumps([metric, _common(record)], sort_keys=True), []).append(record)
    found = sorted(map(_group, apart.values()), key=lambda group: -len(group.records))
    commons = [_common(group.records[0]) for group in found]
    told = told_apart([tuple(str(common[name]) for name in FACE) for common in commons], commons)
    return [replace(group, apart=what) for group, what in zip(found, told, strict=True)]


def primary_of(record: Record) -> str | None:
    """The metric that a run is compared by; None where it was measured with none of PRIMARY at its last step."""
    last = record.scores[max(record.scores)] if record.scores else {}
    return next((metric for metric in PRIMARY if metric in last and _late(record, metric)), None)


# What a group is called by, see `page.title`.
FACE = ("title", "width", "steps", "batch", "precision", "fraction")


def told_apart(faces: Sequence[Hashable], commons: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Of several groups, what tells each from those with the same face: () where there is none.

    commons: what the records of each have in common, by its name for people.
    """
    found = []
    for face, own in zip(faces, commons, strict=True):
        alike = [common for other, common in zip(faces, commons, strict=True) if other == face]
        names = dict.fromkeys(name for common in alike for name in common)
        differ = [name for name in names if any(common.get(name) != own.get(name) for common in alike)]
        found.append(tuple(f"{name}: {own[name]}" if own.get(name) is not None else f"no {name}" for name in differ))
    return found


def _common(record: Record) -> dict[str, Any]:
    """What runs must have in common to be compared, by its name for people."""
    config = {key: value for key, value in record.config.to_json().items() if key not in ("seed", "sparse", "data")}
    data = {"fraction": record.config.data.fraction, "images of the data": record.config.data.images}
    protocol = {key: value for key, value in record.protocol.items() if key != "arithmetic"}
    recipe = {"title": record.recipe["title"], "recipe": record.recipe["sha256"]}
    return {**config, **data, **recipe, **protocol, "device": _kind(record)}


def _kind(record: Record) -> str:
    """CPUs draw other noise than GPUs from the same seed."""
    return str(record.made_with[0].get("kind", "cpu")) if record.made_with else "cpu"


def _group(records: Sequence[Record]) -> RunGroup:
    metric = str(primary_of(records[0]))
    late = Counter(_late(record, metric) for record in records).most_common(1)[0][0]
    left = tuple(r for r in records if not set(late) <= set(_late(r, metric)))
    kept = tuple(r for r in records if r not in left)
    made = RunGroup(kept, metric, late, left, ())
    asked = [(label, VANILLA) for label in made.methods if label != VANILLA]
    for record in kept:
        control = control_of(record.config.sparse)
        if control is not None and (record.method, control) not in asked:
            asked.append((record.method, control))
    changes = [_change(made, *pair) for pair in asked]
    judged = zip(asked, statistics.judged(changes), strict=True)
    return replace(made, compared=tuple(Compared(*pair, change) for pair, change in judged))


def control_of(sparse: dict[str, Any] | None) -> str | None:
    """The label of the control of what a run's configuration says was attached, None where it has none."""
    if sparse is None:
        return None
    config = SparsityConfig.from_mapping(sparse)
    control = Method(config.title, config).control
    return None if control is None else control.label


def _late(record: Record, metric: str) -> tuple[int, ...]:
    """The late steps at which a distance was measured: one that is not above 0 has no logarithm, and is none."""
    late = (step for step in record.scores if step >= LATE * record.config.steps)
    return tuple(step for step in late if (record.value(metric, step) or 0.0) > 0)


def pairs(group: RunGroup, method: str, base: str) -> list[tuple[Record, Record]]:
    """The runs of two methods with the same seed, the same images, and made with the same torch on the same kind of device."""
    others = {(other.seed, *_same(other)): other for other in group.of(base)}
    found = ((record, others.get((record.seed, *_same(record)))) for record in group.of(method))
    by_seed = {record.seed: (record, other) for record, other in found if other is not None}  # a seed counts once
    return list(by_seed.values())


def _same(record: Record) -> tuple[str, str, str]:
    made = record.made_with[0] if record.made_with else {}
    return str(record.config.data.sha256), str(made.get("torch")), str(made.get("device"))


def _change(group: RunGroup, method: str, base: str) -> Change | None:
    both = [(group.primary(one), group.primary(other)) for one, other in pairs(group, method, base)]
    return statistics.change(*zip(*both, strict=True)) if both else None

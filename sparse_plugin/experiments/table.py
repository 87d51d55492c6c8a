"""A table of outcomes: mean ± standard deviation over seeds, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from sparse_plugin.evaluate.outcome import Outcome
from sparse_plugin.experiments import comparison, files, page, records
from sparse_plugin.experiments.paper import PaperTable


@dataclass(frozen=True)
class Entry:
    """One architecture, share of the data, method and metric.

    values: one a seed. deviation: their sample standard deviation, None for one seed. change: of the mean against vanilla, over
    the seeds that both have, in per cent, None where there are none, or a value is not above 0. paper, paper_metric: the
    paper's number, None where it has none, and what it is of. sparsity: the mean percentage of non-zeros of Γ_1.
    """

    arch: str
    title: str
    fraction: float
    method: str
    metric: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    change: float | None
    paper: float | None
    paper_change: float | None
    paper_metric: str
    sparsity: float

    @property
    def mean(self) -> float:
        """Over seeds."""
        return mean(self.values)

    @property
    def deviation(self) -> float | None:
        """Over seeds."""
        return stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if self.deviation is None else f" ± {self.deviation:.2g}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "mean": self.mean, "deviation": self.deviation}


@dataclass(frozen=True)
class Table:
    """Entries, and the same as Markdown."""

    entries: tuple[Entry, ...]
    markdown: str
    notes: tuple[str, ...]


def make(paper: PaperTable, outcomes: Sequence[Outcome], command: str = "", failed: Iterable[str] = ()) -> Table:
    """The table of measured runs."""
    groups: dict[tuple[str, float, str], list[Outcome]] = {}
    for found in outcomes:
        groups.setdefault((*_row(found), found.label), []).append(found)
    metrics = list(dict.fromkeys(metric for found in outcomes for metric in found.scores))
    entries: list[Entry] = []
    for (arch, fraction, name), runs in groups.items():
        bases = groups.get((arch, fraction, "vanilla"), [])
        for metric in metrics:
            values = _values(runs, metric)
            if not values:
                continue
            there = paper.value(arch, fraction, runs[0].method)
            vanilla = paper.value(arch, fraction, "vanilla")
            entries.append(
                Entry(
                    arch,
                    runs[0].config.title,
                    fraction,
                    name,
                    metric,
                    values,
                    tuple(run.config.seed for run in runs if run.value(metric) is not None),
                    _change(runs, bases, metric),
                    there,
                    100 * (there / vanilla - 1) if there is not None and vanilla else None,
                    paper.metric,
                    mean(run.sparsity for run in runs),
                )
            )
    notes = (*_notes(outcomes, command), *(f"failed: {text}" for text in failed))
    text = _markdown(paper, entries, metrics, notes)
    for group in comparison.groups(records.of(found) for found in outcomes):
        if group.compared:
            text += f"\n## Compared: {page.title(group)}\n\n{page.markdown(group)}\n"
    return Table(tuple(entries), text, notes)


def write(made: Table, path: Path) -> list[Path]:
    """Write a table as path.md, path.csv and path.json. Returns the paths."""
    rows = [entry.as_dict() for entry in made.entries]
    return files.write(path, made.markdown, rows, {"entries": rows, "notes": made.notes})


def _row(found: Outcome) -> tuple[str, float]:
    return found.config.arch, found.config.data.fraction


def _values(runs: Iterable[Outcome], metric: str) -> tuple[float, ...]:
    return tuple(value for run in runs if (value := run.value(metric)) is not None)


def _change(runs: Sequence[Outcome], bases: Sequence[Outcome], metric: str) -> float | None:
    """Of the mean over the seeds that both have, in per cent; None where there are none, or of values that may be 0 or below."""
    ours, theirs = ({run.config.seed: run.value(metric) for run in several} for several in (runs, bases))
    both = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    found = [(one, other) for one, other in both if one is not None and other is not None]
    if not found or min(min(pair) for pair in found) <= 0:
        return None
    return 100 * (mean(one for one, _ in found) / mean(other for _, other in found) - 1)


def _markdown(paper: PaperTable, entries: Sequence[Entry], metrics: Sequence[str], notes: Iterable[str]) -> str:
    """A part a metric, in each a row for every architecture and the paper's below it."""
    columns = list(dict.fromkeys(entry.method for entry in entries))
    rows = list(dict.fromkeys((entry.arch, entry.fraction) for entry in entries))
    parts = [f"# Table {paper.number}: {paper.caption}" if paper.number else f"# {paper.caption}"]
    for metric in metrics:
        here = {(e.arch, e.fraction, e.method): e for e in entries if e.metric == metric}
        parts.append(f"## {metric}{_meaning(metric, paper)}")
        lines: list[list[str]] = []
        for row in rows:
            found = [here.get((*row, column)) for column in columns]
            first = next((e for e in found if e is not None), None)
            if first is None:
                continue
            lines.append([_title(first), "here", *("" if e is None else str(e) for e in found)])
            lines.append(["", "against vanilla", *(_percent(None if e is None else e.change) for e in found)])
            if paper.number and metric in (paper.metric, _STANDS_FOR.get(paper.metric)):
                lines.append(["", f"paper's {paper.metric}", *(_number(None if e is None else e.paper) for e in found)])
                lines.append(["", "against vanilla", *(_percent(None if e is None else e.paper_change) for e in found)])
        parts.append(files.markdown(["", "", *columns], lines))
    parts.append("## Sparsity level: non-zeros of Γ that D1 consumes, %")
    lines = []
    for row in rows:
        by = {e.method: e for e in entries if (e.arch, e.fraction) == row}
        first = next(iter(by.values()))
        lines.append([_title(first), *(f"{by[c].sparsity:.1f}" if c in by else "" for c in columns)])
    parts.append(files.markdown(["", *columns], lines))
    parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


# What is measured without Inception's weights, beside the paper's numbers.
_STANDS_FOR = {"FID": "FD-lite0"}


def _meaning(metric: str, paper: PaperTable) -> str:
    if not paper.number or metric != _STANDS_FOR.get(paper.metric):
        return ""
    return (
        f", for want of Inception's weights: compare with the paper's {paper.metric} only the changes against vanilla"
    )


def _title(entry: Entry) -> str:
    return entry.title if entry.fraction == 1 else f"{entry.title}, {100 * entry.fraction:g} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


def _notes(outcomes: Sequence[Outcome], command: str) -> list[str]:
    """What the numbers depend on: budgets, seeds, protocol."""
    notes = [f"command: `{command}`"] if command else []
    for found in {_row(found): found for found in outcomes}.values():
        config = found.config
        seeds = sorted({o.config.seed for o in outcomes if _row(o) == _row(found)})
        notes.append(
            f"{config.title}: {found.step} steps of {config.batch} images, width {config.width:g}, "
            f"{config.precision}, seeds {', '.join(map(str, seeds))}, trained on {config.data.name} "
            f"({config.data.images} images)"
        )
    if any(len(_same(outcomes, found)) < 2 for found in outcomes):
        notes.append("a value without ± is of one seed")
    for found in {(_row(found), found.label): found for found in outcomes}.values():
        ours, theirs = (
            {o.config.seed for o in outcomes if _row(o) == _row(found) and o.label == label} for label in (found.label, "vanilla")
        )
        if theirs and ours != theirs:
            both = ", ".join(map(str, sorted(ours & theirs))) or "none"
            notes.append(f"{found.config.title}, {found.label} has other seeds than vanilla: its change is over {both}")
    notes += [f"{what}: {how}" for what, how in outcomes[0].protocol.items()]
    return notes


def _same(outcomes: Sequence[Outcome], found: Outcome) -> list[Outcome]:
    return [o for o in outcomes if _row(o) == _row(found) and o.label == found.label]

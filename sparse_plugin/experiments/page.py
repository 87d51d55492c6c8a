"""What recorded runs came to, as Markdown: the table of paired comparisons, the distance over steps, what it depends on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from sparse_plugin.experiments import files, statistics
from sparse_plugin.experiments.comparison import Compared, RunGroup, control_of, pairs
from sparse_plugin.experiments.paper import TABLES
from sparse_plugin.experiments.records import Record
from sparse_plugin.experiments.statistics import Change
from sparse_plugin.runs.appearance import method_of
from sparse_plugin.runs.methods import VANILLA

RULE = (
    "better or worse: p, corrected by Holm over all comparisons of the table, is below 0.05 and the 95 % interval of the "
    "mean paired change lies on one side of zero; everything else is not told apart"
)
# Heading of the smallest corrected p that the pairs of a comparison allow.
LEAST = "least p, Holm"


def title(group: RunGroup) -> str:
    """As a heading: "DCGAN, width 0.25, 10,000 steps of 64 images, float32", and what tells it from others of this title."""
    config = group.config
    share = config.data.fraction
    parts = [
        group.records[0].recipe["title"],
        f"width {config.width:g}",
        f"{config.steps:,} steps of {config.batch} images",
        config.precision,
        *([] if share == 1 else [f"{100 * share:g} % of the images"]),
        *group.apart,
    ]
    return ", ".join(parts)


def measured_as(group: RunGroup) -> str:
    """The primary metric: "mean of FD-lite0 at 6,000, 8,000 and 10,000 steps"."""
    steps = [f"{step:,}" for step in group.late]
    return (
        f"mean of {group.metric} at {', '.join(steps[:-1])} and {steps[-1]} steps"
        if len(steps) > 1
        else f"{group.metric} at {steps[0]} steps"
    )


def markdown(group: RunGroup) -> str:
    """All of a group, without a heading."""
    parts = [
        f"Primary metric: {measured_as(group)}; lower is better. Pairs by seed: the same initial weights of what both have, "
        "the same batches, the same noise.",
        comparisons(group),
        f"The rule: {RULE}.",
        over_steps(group),
        others(group),
        changes_of_others(group),
        "\n".join(f"- {note}" for note in notes(group)),
    ]
    return "\n\n".join(part for part in parts if part)


def comparisons(group: RunGroup) -> str:
    """The table of the primary metric; a method's control has a row even where there is no run of it."""
    heading = ["", "runs", "mean ± deviation", "pairs", "change, %", "95 % interval", "p", "p, Holm", LEAST, "verdict"]
    heading += [*(["paper's FID, %"] if _papers(group, "l0") is not None else []), "non-zeros of Γ, %"]
    rows = [_row(group, method, None) for method in group.methods if method == VANILLA]
    rows += [_row(group, found.method, found) for found in group.compared]
    there = {(found.method, found.base) for found in group.compared}
    controls = {control_of(record.config.sparse) for record in group.records} - {None}
    for control in sorted(str(label) for label in controls if (label, VANILLA) not in there):
        rows.append([f"{control}, the added layer without sparsity", "0", "no run yet", *[""] * (len(heading) - 3)])
    return files.markdown(heading, rows)


def _row(group: RunGroup, method: str, found: Compared | None) -> list[str]:
    values = [group.primary(record) for record in group.of(method)]
    cells = [method if found is None else named(found), str(len(values)), _spread(values)]
    cells += [""] * 7 if found is None else changed(found.change)
    if _papers(group, "l0") is not None:
        paper = None if found is None or found.base != VANILLA else _papers(group, method)
        cells.append("" if paper is None else f"{paper:+.1f}")
    cells.append(f"{mean(record.sparsity for record in group.of(method)):.1f}")
    return cells


def changed(change: Change | None, digits: int = 1) -> list[str]:
    """The cells of a comparison, None where it has no pairs: pairs, mean change, interval, p, corrected p, the least that it can
    be with so many pairs, verdict.
    """
    if change is None:
        return ["0", "", "", "", "", "1", "not told apart"]
    cells = [str(change.pairs), f"{change.mean:+.{digits}f}", bounds(change, digits)]
    return [*cells, f"{change.p:.2g}", f"{change.adjusted:.2g}", f"{change.least:.2g}", change.verdict]


def bounds(change: Change, digits: int = 1) -> str:
    """The interval: "-12.0 to -3.1"."""
    return "none of one pair" if math.isinf(change.high) else f"{change.low:+.{digits}f} to {change.high:+.{digits}f}"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4g}" + (f" ± {stdev(values):.2g}" if len(values) > 1 else "")


def _papers(group: RunGroup, method: str) -> float | None:
    """The paper's change of FID against its vanilla, in per cent; None where it has none, and for a control."""
    config, name, settings = group.config, method_of(method), method.partition("-")[2]
    if name == "ml_csc" and settings == "k=1.0":
        return None
    for table in TABLES.values():
        if table.metric == "FID":
            value = table.value(config.arch, config.data.fraction, name)
            base = table.value(config.arch, config.data.fraction, VANILLA)
            if value is not None and base:
                return 100 * (value / base - 1)
    return None


def over_steps(group: RunGroup) -> str:
    """The primary metric at every step that all runs were measured at: the mean over seeds."""
    steps = [
        step for step in group.records[0].scores if all(r.value(group.metric, step) is not None for r in group.records)
    ]
    if len(steps) < 2:
        return ""
    rows = [
        [
            f"{step:,}",
            *(f"{mean(record.scores[step][group.metric][0] for record in group.of(m)):.4g}" for m in group.methods),
        ]
        for step in steps
    ]
    return f"{group.metric} over steps, mean over the seeds:\n\n" + files.markdown(["steps", *group.methods], rows)


def others(group: RunGroup) -> str:
    """The other metrics at the last step: mean ± deviation over seeds, not tested."""
    last = group.config.steps
    there = [r.scores[last] for r in group.records if last in r.scores]
    names = [name for name in there[0] if all(name in scores for scores in there)] if there else []
    rows = [
        [
            name,
            *(
                _spread([r.scores[last][name][0] for r in group.of(method) if last in r.scores])
                for method in group.methods
            ),
        ]
        for name in names
    ]
    if not rows:
        return ""
    return f"At {last:,} steps, mean ± deviation over the seeds; not tested:\n\n" + files.markdown(
        ["", *group.methods], rows
    )


def changes_of_others(group: RunGroup) -> str:
    """The paired changes of the other metrics at the last step, each with its interval; neither corrected nor judged."""
    last = group.config.steps
    asked = [found.method for found in group.compared if found.base == VANILLA]
    both = {method: pairs(group, method, VANILLA) for method in asked}
    names = dict.fromkeys(name for record in group.records for name in record.scores.get(last, {}))
    rows = [[name, *(_interval(both[method], name, last) for method in asked)] for name in names]
    if not any(cell for row in rows for cell in row[1:]):
        return ""
    return (
        f"At {last:,} steps, mean paired change against vanilla and its 95 % interval, in % (of PSNR in dB, of what may be 0 in its "
        "own unit); neither corrected for their number nor judged:\n\n" + files.markdown(["", *asked], rows)
    )


def _interval(both: Sequence[tuple[Record, Record]], metric: str, step: int) -> str:
    """ "-5.0 (-12.0 to +2.1)"; "" of fewer than two pairs."""
    found = [(one.value(metric, step), other.value(metric, step)) for one, other in both]
    values = [(one, other) for one, other in found if one is not None and other is not None]
    if len(values) < 2:
        return ""
    relative = not metric.startswith("PSNR") and min(min(pair) for pair in values) > 0
    of = (statistics.change if relative else statistics.difference)(*zip(*values, strict=True))
    digits = 1 if relative else 2 if metric.startswith("PSNR") else 4
    return f"{of.mean:+.{digits}f} ({bounds(of, digits)})"


def notes(group: RunGroup) -> list[str]:
    """What the numbers depend on."""
    config, first = group.config, group.records[0]
    seeds = ", ".join(map(str, group.seeds))
    found = [
        f"seeds {seeds}; trained on {config.data.name} ({config.data.images} images)",
        power(group.compared),
    ]
    found += made_with(record.made_with for record in group.records)
    paces = [record.pace for record in group.records if record.pace]
    found += [f"seconds a step: {min(paces):.2g} to {max(paces):.2g}, median of each run"] if paces else []
    found += [f"{what}: {how}" for what, how in first.protocol.items()]
    unpaired = [
        record
        for record in group.records
        if record.method != VANILLA and record.seed not in {one.seed for one, _ in pairs(group, record.method, VANILLA)}
    ]
    found += [f"{r.method}, seed {r.seed}: without a vanilla run to be paired with" for r in unpaired]
    found += [
        f"left out: {r.method}, seed {r.seed}, measured at "
        f"{', '.join(str(step) for step in r.scores if (r.value(group.metric, step) or 0.0) > 0)}"
        for r in group.left_out
    ]
    return found


def made_with(runs: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    """A line for each torch, device and number of threads that runs were made with, of what `Record.made_with` holds."""
    made = {(m.get("torch"), m.get("device"), m.get("threads")) for several in runs for m in several[:1]}
    return [
        f"made with torch {torch}, {device}, {threads} thread(s)" for torch, device, threads in sorted(made, key=str)
    ]


def power(compared: Iterable[Compared]) -> str:
    """Which comparisons have too few pairs to be told apart, whatever the runs came to: from the numbers of pairs alone."""
    names: dict[tuple[int, float], list[str]] = {}
    for found in compared:
        key = (found.change.pairs, found.change.least) if found.change else (0, 1.0)
        names.setdefault(key, []).append(named(found))
    if not names:
        return "no method to compare yet"
    count = sum(map(len, names.values()))
    short = [least >= statistics.LEVEL for _, least in names]
    told = []
    for (of_each, least), several in sorted(names.items(), reverse=True):
        text = f"with {of_each} pair{'' if of_each == 1 else 's'} the smallest possible Holm-adjusted p"
        text += f" of {', '.join(dict.fromkeys(several))}" if len(names) > 1 else ""
        text += f" among {count} comparison{'' if count == 1 else 's'} is {least:.2g}"
        told.append(text + (": not to be told apart yet" if least >= statistics.LEVEL and not all(short) else ""))
    nothing = f": nothing can be told apart before {statistics.pairs_needed(count)} pairs" if all(short) else ""
    return "; ".join(told) + nothing


def named(found: Compared) -> str:
    """A comparison: the method, and against what where that is not vanilla."""
    return found.method if found.base == VANILLA else f"{found.method} against {found.base}"

"""What recorded restorations came to, as Markdown: methods paired by image and noise, beside the paper's differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from sparse_plugin.experiments import files, page, statistics
from sparse_plugin.experiments.comparison import Compared, told_apart
from sparse_plugin.experiments.restored import Restored
from sparse_plugin.experiments.table4_report import OUTPUTS, PAPER
from sparse_plugin.runs.methods import VANILLA


@dataclass(frozen=True)
class RestorationGroup:
    """Restorations that differ in nothing but image, noise and method. compared: by output, each method against vanilla;
    all of them are judged together. apart: what tells it from others that are called alike.
    """

    records: tuple[Restored, ...]
    compared: dict[str, tuple[Compared, ...]]
    apart: tuple[str, ...] = ()

    def of(self, method: str) -> list[Restored]:
        """The restorations of a method."""
        return [record for record in self.records if record.method == method]


def groups(records: Iterable[Restored]) -> list[RestorationGroup]:
    """The groups of records that have something to compare, the largest first."""
    apart: dict[str, list[Restored]] = {}
    for record in records:
        apart.setdefault(json.dumps(_common(record), sort_keys=True), []).append(record)
    made = (_group(several) for several in apart.values())
    found = sorted((group for group in made if group.compared["single"]), key=lambda group: -len(group.records))
    told = told_apart([title(group) for group in found], [_common(group.records[0]) for group in found])
    return [replace(group, apart=what) for group, what in zip(found, told, strict=True)]


def _common(record: Restored) -> dict[str, Any]:
    """What restorations must have in common to be compared, by its name for people."""
    config = {key: value for key, value in record.config.to_json().items() if key not in ("seed", "sparse")}
    if record.chosen:
        config["stop"] = None  # a rule that chose k, and of whose run all iterations are looked at as of the others
    kind = record.made_with[0].get("kind", "cpu") if record.made_with else "cpu"
    return {"task": record.task, "crop": record.crop, **config, "device": kind}


def _group(records: Sequence[Restored]) -> RestorationGroup:
    asked = [(output, label) for output in OUTPUTS for label in _labels(records) if label != VANILLA]
    changes = []
    for output, label in asked:
        both = [(one.psnr[output][0], other.psnr[output][0]) for one, other in pairs(records, label)]
        changes.append(statistics.difference(*zip(*both, strict=True)) if both else None)
    judged = statistics.judged(changes, lower_is_better=False)
    compared: dict[str, list[Compared]] = {output: [] for output in OUTPUTS}
    for (output, label), change in zip(asked, judged, strict=True):
        compared[output].append(Compared(label, VANILLA, change))
    return RestorationGroup(tuple(records), {output: tuple(several) for output, several in compared.items()})


def _labels(records: Iterable[Restored]) -> list[str]:
    return sorted(dict.fromkeys(record.method for record in records), key=lambda label: label != VANILLA)


def pairs(records: Iterable[Restored], method: str, base: str = VANILLA) -> list[tuple[Restored, Restored]]:
    """The restorations of two methods of the same noisy image, by the same network at first, made with the same torch on
    the same kind of device; an image and noise count once.
    """
    records = list(records)
    others = {_same(record): record for record in records if record.method == base}
    found = ((record, others.get(_same(record))) for record in records if record.method == method)
    once = {_unit(record): (record, other) for record, other in found if other is not None}
    return list(once.values())


def _unit(record: Restored) -> tuple[str, int]:
    return record.image["sha256"], record.noise["seed"]


def _same(record: Restored) -> tuple[str, ...]:
    made = record.made_with[0] if record.made_with else {}
    what = (*_unit(record), record.noise["sha256"], record.config.seed, made.get("torch"), made.get("device"))
    return tuple(map(str, what))


def markdown(found: Iterable[RestorationGroup]) -> str:
    """All groups, with headings; empty where there is none."""
    return "\n\n".join(f"### {title(group)}\n\n{_markdown(group)}" for group in found)


def title(group: RestorationGroup) -> str:
    """As a heading: task, σ, size, iterations, width, and what tells it from others of this title."""
    first = group.records[0]
    what = "whole images" if first.crop is None else f"central squares of {first.crop} pixels"
    sigma, iterations, width = first.task["sigma"], first.config.iterations, first.config.width
    of_all = f"Deep Image Prior, {first.task['name']}, σ = {sigma:g}, {what}, {iterations:,} iterations, width {width:g}"
    return ", ".join([of_all, *group.apart])


def _markdown(group: RestorationGroup) -> str:
    parts = [
        "Primary metrics: the highest PSNR of all iterations, in dB, of the single and of the averaged output; higher is better. "
        "Pairs by image and noise: the same noisy image, the same initial weights, the same input.",
        *(f"{what.capitalize()}:\n\n{_comparisons(group, output)}" for output, what in OUTPUTS.items()),
        f"The rule: {page.RULE}. Both outputs are corrected for together.",
        f"Mean over the runs; not tested:\n\n{_described(group)}",
        "\n".join(f"- {note}" for note in _notes(group)),
    ]
    return "\n\n".join(parts)


def _comparisons(group: RestorationGroup, output: str) -> str:
    heading = ["", "runs", "mean, dB", "pairs", "change, dB", "95 % interval", "p", "p, Holm", page.LEAST, "verdict", "paper's, dB"]
    changes = {found.method: page.changed(found.change, 2) for found in group.compared[output]}
    rows = []
    for label in _labels(group.records):
        runs = group.of(label)
        cells = [label, str(len(runs)), f"{mean(run.psnr[output][0] for run in runs):.2f}"]
        rows.append([*cells, *changes.get(label, [""] * 7), _papers(output, label)])
    return files.markdown(heading, rows)


def _papers(output: str, label: str) -> str:
    """The paper's difference from its vanilla."""
    value = PAPER[output].get(label.partition("-")[0])
    return "" if value is None or label == VANILLA else f"{value[0] - PAPER[output][VANILLA][0]:+.2f}"


def _described(group: RestorationGroup) -> str:
    """Image by image: the highest PSNR and its iteration, the last one's, and the densities."""
    heading = ["image", "method", "runs", "noisy"]
    heading += [text for what in OUTPUTS.values() for text in (what, "at iteration", "at the end")]
    rows = []
    for image in dict.fromkeys(record.image["sha256"] for record in group.records):
        for label in _labels(group.records):
            runs = [record for record in group.of(label) if record.image["sha256"] == image]
            if not runs:
                continue
            cells = [runs[0].image["name"], label, str(len(runs)), f"{mean(run.noisy for run in runs):.2f}"]
            for output in OUTPUTS:
                last = [run.final[output] for run in runs if run.final]
                cells += [
                    f"{mean(run.psnr[output][0] for run in runs):.2f}",
                    f"{mean(run.psnr[output][1] for run in runs):.0f}",
                ]
                cells.append(f"{mean(last):.2f}" if last else "")
            levels = zip(*(run.density for run in runs), strict=False)
            rows.append([*cells, ", ".join(f"{100 * mean(level):.1f}" for level in levels)])
    return files.markdown([*heading, "non-zeros of Γ_1 to Γ_K, %"], rows)


def _notes(group: RestorationGroup) -> list[str]:
    """What the numbers depend on."""
    images = {record.image["sha256"]: record.image for record in group.records}
    seeds = sorted({record.noise["seed"] for record in group.records})
    found = [
        ", ".join(
            f"{image['name']} ({'x'.join(map(str, image['size']))}, sha256 {sha})" for sha, image in images.items()
        ),
        f"noise seeds {', '.join(map(str, seeds))}; runs of one seed begin with the same weights"
        + (
            ", and images of one size have the same noise, so that their pairs are not independent"
            if len(images) > 1
            else ""
        ),
        page.power([one for several in group.compared.values() for one in several]),
        "the paper's: the mean of nine whole images, three runs each",
        *page.made_with(record.made_with for record in group.records),
    ]
    paired = {(label, _unit(one)) for label in _labels(group.records) for one, _ in pairs(group.records, label)}
    found += [
        f"{record.method}, {record.image['name']}, noise seed {record.noise['seed']}: without a vanilla run to be paired with"
        for record in group.records
        if (record.method, _unit(record)) not in paired
    ]
    return found

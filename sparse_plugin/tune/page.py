"""The page of a race: one HTML file with everything in it, made from the runs' directories."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from sparse_plugin.experiments.statistics import Change
from sparse_plugin.runs import appearance
from sparse_plugin.support.files import write
from sparse_plugin.support.version import __version__
from sparse_plugin.tune.budget import cost
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE, Candidate
from sparse_plugin.tune.curves import Line, bar, chart
from sparse_plugin.tune.pictures import data_uri, density_map
from sparse_plugin.tune.race import Outcome, natural_line, paired
from sparse_plugin.tune.report import PAGE, Report, interval_text
from sparse_plugin.tune.trial import SAMPLES, Trial

# Candidates whose samples stand beside vanilla's.
SHOWN = 3
_PALETTE = ("#56B4E9", "#CC79A7", "#8c6d31", "#7b4173")


def write_page(made: Report, out: Path) -> Path:
    """Write out/page.html. Returns its path."""
    template = Template(files("sparse_plugin.tune").joinpath("page.html").read_text(encoding="utf-8"))
    outcome = made.outcome
    goal = outcome.target.goal
    filled = template.substitute(
        title=escape(outcome.target.title),
        sentence=escape(made.sentence),
        metric=escape(goal.metric),
        better="lower" if goal.lower else "higher",
        race=escape(_race(outcome)),
        ranking=_ranking(made),
        remarks="".join(f"<li>{escape(remark)}</li>" for remark in made.remarks),
        curves=_curves(made, out),
        samples=_samples(made, out),
        natural=_natural(made, out),
        settings=escape(made.settings or "# no settings: nothing helps, and nothing is attached\n"),
        command=escape(made.command),
        rungs=_rungs(outcome),
        versions=escape(f"sparse_plugin {__version__}, Python {platform.python_version()}"),
    )
    write(out / PAGE, filled)
    return out / PAGE


def _race(outcome: Outcome) -> str:
    seeds, count = outcome.rungs[-1].seeds, len(outcome.standings)
    full = (count + 1) * seeds
    return (
        f"{count} candidates and vanilla, {seeds} seeds: {cost(outcome.rungs):.3g} whole runs instead of {full}, "
        f"{100 * cost(outcome.rungs) / full:.0f} % of the grid"
    )


def colour_of(candidate: Candidate) -> str:
    """That of its regularizer."""
    declared = appearance.of(candidate.name).colour
    return declared or _PALETTE[sum(candidate.name.encode()) % len(_PALETTE)]


def _ranking(made: Report) -> str:
    outcome = made.outcome
    changes = [each.change for each in outcome.standings if each.change]
    ends = [0.0, *(end for change in changes for end in _ends(change))]
    least, most = min(ends), max(ends)
    rows = []
    for place, each in enumerate(outcome.standings, 1):
        drawn, said, far = "", f"failed: {escape(each.failed)}", ""
        if each.change is not None:
            low, high = _ends(each.change)
            drawn = bar(low, each.change.mean, high, least, most, colour_of(each.candidate))
            said = f"{escape(interval_text(each.change, outcome.unit))}<br>{each.change.verdict}"
            far = f"{100 * outcome.rungs[each.rung].share:.3g} %, {each.change.pairs} seeds"
        chosen = ' class="chosen"' if each.candidate is outcome.chosen else ""
        rows.append(f"<tr{chosen}><td>{place}</td><td>{escape(each.label)}</td><td>{drawn}</td><td>{said}</td><td>{far}</td></tr>")
    last = outcome.vanilla[-1].values()
    mean = f"{sum(last) / len(last):.5g}"
    chosen = ' class="chosen"' if outcome.chosen is VANILLA_CANDIDATE else ""
    rows.append(f"<tr{chosen}><td></td><td>vanilla</td><td></td><td>{mean}, what the others are compared with</td><td>100 %</td></tr>")
    return "".join(rows)


def _ends(change: Change) -> tuple[float, float]:
    """Of the interval, as it can be drawn: none where there is one pair; at most ten times the mean."""
    if math.isinf(change.low) or math.isinf(change.high):
        return change.mean, change.mean
    wide = max(10 * abs(change.mean), 1e-12)
    return max(change.low, change.mean - wide), min(change.high, change.mean + wide)


def _by_share(made: Report, candidate: Candidate, out: Path) -> Iterator[tuple[float, dict[int, float]]]:
    """The values by seed at each rung that a candidate was raced at."""
    outcome = made.outcome
    first = outcome.target.first_seed
    for share in dict.fromkeys(rung.share for rung in outcome.rungs):
        found = {}
        for seed in range(first, first + outcome.rungs[-1].seeds):
            score = outcome.target.trial(candidate, seed, share, out).collect()
            if score is not None:
                found[seed] = score.value
        if found:
            yield share, found


def _curves(made: Report, out: Path) -> str:
    outcome = made.outcome
    goal = outcome.target.goal
    base = dict(_by_share(made, VANILLA_CANDIDATE, out))
    differences = []
    own = [Line("vanilla", tuple((s, _mean(v)) for s, v in base.items()), "var(--soft)", True)]
    for each in outcome.standings:
        points = []
        values = dict(_by_share(made, each.candidate, out))
        for share, found in values.items():
            change = paired(found, base.get(share, {}), outcome.relative)
            if change is not None:
                points.append((share, change.mean))
        strong = each is outcome.best
        if points:
            colour = colour_of(each.candidate)
            differences.append(Line(each.label, tuple(points), colour, strong))
            own.append(Line(each.label, tuple((s, _mean(v)) for s, v in values.items()), colour, strong))
    unit = f", {outcome.unit}" if outcome.unit else ""
    drawn = [chart(own, "share of a whole run", goal.metric)]
    if differences:
        drawn.insert(0, chart(differences, "share of a whole run", f"difference to vanilla{unit}", "vanilla"))
    colours = {"vanilla": "var(--soft)"} | {each.candidate.name: colour_of(each.candidate) for each in outcome.standings}
    key = "".join(
        f'<span class="key"><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in colours.items()
    )
    return f"<p>{key}</p>" + "".join(f"<figure>{each}</figure>" for each in drawn)


def _mean(values: dict[int, float]) -> float:
    return sum(values.values()) / len(values)


def _last(made: Report, candidate: Candidate, out: Path) -> Trial | None:
    """A candidate's trial of the first seed, as far as it was trained."""
    outcome = made.outcome
    for rung in reversed(outcome.rungs):
        trial = outcome.target.trial(candidate, outcome.target.first_seed, rung.share, out)
        if trial.collect() is not None:
            return trial
    return None


def _samples(made: Report, out: Path) -> str:
    outcome = made.outcome
    compared = [VANILLA_CANDIDATE, *(each.candidate for each in outcome.standings if not each.failed)][: 1 + SHOWN]
    drawn = []
    for candidate in compared:
        trial = _last(made, candidate, out)
        picture = None if trial is None else trial.directory / SAMPLES
        if trial is None or picture is None or not picture.is_file():
            continue
        how_far = f"{100 * trial.share:.3g} % of a run, seed {trial.seed}"
        source = data_uri(picture.read_bytes())
        drawn.append(
            f"<figure><figcaption><b>{escape(candidate.label)}</b> &ensp;{how_far}</figcaption>"
            f'<img alt="Samples of {escape(candidate.label)}" src="{source}"></figure>'
        )
    if not drawn:
        return '<p class="soft">No images were found: the score is a number that the trainer writes, and no picture lies in its folder.</p>'
    return f'<div class="two">{"".join(drawn)}</div>'


def _natural(made: Report, out: Path) -> str:
    """The density of vanilla's Γ, where it was measured, and what k came of it."""
    outcome = made.outcome
    trial = _last(made, VANILLA_CANDIDATE, out)
    score = None if trial is None else trial.collect()
    parts = [f"<p>{escape(natural_line(outcome.natural))}, at the first rung, over the seeds</p>"]
    for level in score.levels if score is not None else []:
        site = escape(str(level.get("site", "")))
        parts.append(f"<p>{site or 'Γ'}: {float(level['sparsity']):.1f} % of Γ are non-zero in the end, of the first seed</p>")
        density: Any = level.get("needle_density")
        if isinstance(density, list) and density and isinstance(density[0], list):
            caption = "share of non-zeros of the needle at each position, from 0 (dark) to 1 (bright)"
            picture = f'<img class="map" alt="Map of the needle density" src="{density_map(density)}">'
            parts.append(f"<figure><figcaption>{caption}</figcaption>{picture}</figure>")
    raced = [f"<code>{escape(each.label)}</code>" for each in outcome.standings if each.candidate.share is not None]
    if raced:
        parts.append(f"<p>Levels that follow from it: {', '.join(raced)}</p>")
    return "".join(parts)


def _rungs(outcome: Outcome) -> str:
    return "".join(
        f"<tr><td>{number}</td><td>{100 * rung.share:.3g} %</td><td>{rung.seeds}</td><td>{rung.candidates}</td>"
        f"<td>{escape(json.dumps({seed: float(f'{value:.5g}') for seed, value in values.items()}))}</td></tr>"
        for number, (rung, values) in enumerate(zip(outcome.rungs, outcome.vanilla, strict=True), 1)
    )

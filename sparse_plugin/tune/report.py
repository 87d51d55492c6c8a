"""What a race came to: the answer in a sentence, the ranking, the recommended settings and the command that trains with them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sparse_plugin.experiments.statistics import Change, pairs_needed
from sparse_plugin.runs.methods import VANILLA
from sparse_plugin.support.files import write
from sparse_plugin.tune.budget import cost
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE
from sparse_plugin.tune.race import Outcome, Standing, natural_line

RANKING, SETTINGS, PAGE = "ranking.json", "sparse.yaml", "page.html"


@dataclass(frozen=True)
class Report:
    """What stands on the page and in the terminal. sentence: the answer. remarks: what is to be known beside it. settings: the
    file of settings, as text. command: that trains with it.
    """

    outcome: Outcome
    sentence: str
    remarks: tuple[str, ...]
    settings: str
    command: str


def make(outcome: Outcome, out: Path) -> Report:
    """The report of a race; its settings and ranking are written to out."""
    chosen, best = outcome.chosen, outcome.best
    standing = chosen if chosen is not VANILLA_CANDIDATE else best.candidate if best is not None else None
    path = out / SETTINGS
    settings = ""
    if standing is not None and standing.sparse is not None:
        sparse = standing.sparse.flat() | ({} if standing is chosen else {"enabled": False})
        settings = yaml.safe_dump({"version": 1, "sparse": sparse}, sort_keys=False, allow_unicode=True)
        write(path, settings)
    elif path.exists():
        path.unlink()  # what another race recommended
    made = Report(
        outcome,
        _sentence(outcome),
        tuple(_remarks(outcome)),
        settings,
        outcome.target.command(out, path if settings else None),
    )
    write(out / RANKING, json.dumps(_plain(made), indent=1, ensure_ascii=False))
    return made


def _sentence(outcome: Outcome) -> str:
    best, chosen = outcome.best, outcome.chosen
    if best is None or best.change is None:
        return "No candidate could be compared with vanilla: all of them failed."
    difference = f"difference {interval_text(best.change, outcome.unit)}"
    if chosen is VANILLA_CANDIDATE:
        return f"No regularizer helps here: the best, {best.label}, is no better than vanilla, {difference}."
    if best.change.verdict == "better":
        return f"{best.label} is better than vanilla, {difference}."
    return f"{best.label} came out best and is not told apart from vanilla, {difference}."


def interval_text(change: Change, unit: str) -> str:
    """ "-5.2 % (95 % interval -9.1 to -1.3, p 0.008, after Holm 0.03)" """
    sign = _number(change.mean)
    within = "no interval, of one pair" if math.isinf(change.low) else f"95 % interval {_number(change.low)} to {_number(change.high)}"
    corrected = "" if change.adjusted == change.p else f", after Holm {change.adjusted:.2g}"
    return f"{sign}{f' {unit}' if unit else ''} ({within}, p {change.p:.2g}{corrected})"


def _number(value: float) -> str:
    return f"{value:+.1f}" if 0.95 <= abs(value) < 1e5 else f"{value:+.3g}"


def _remarks(outcome: Outcome) -> list[str]:
    said = []
    if outcome.one_seed:
        said.append(
            f"all {outcome.rungs[-1].seeds} seeds came to the same numbers, so that their pairs count as one: see that the trainer takes "
            "its seed, and that the metric is fine enough"
        )
    comparisons = len(outcome.standings)
    pairs = max((each.change.pairs for each in outcome.standings if each.change), default=0)
    if comparisons and 0 < pairs < pairs_needed(comparisons):
        said.append(
            f"{pairs} pairs cannot tell any of {comparisons} candidates apart from vanilla, whatever the differences; it takes "
            f"{pairs_needed(comparisons)}, or fewer candidates"
        )
    if comparisons > 1:
        said.append("the interval is of the seeds that chose the best of several, which makes its mean look better than it is")
    said += [f"{each.label} failed: {each.failed}" for each in outcome.standings if each.failed]
    return said


def text(made: Report) -> str:
    """For the terminal."""
    outcome = made.outcome
    goal, rungs = outcome.target.goal, outcome.rungs
    seeds = rungs[-1].seeds
    full = (len(outcome.standings) + 1) * seeds
    lines = [
        f"{outcome.target.title}: {goal.metric}, {'lower' if goal.lower else 'higher'} is better; {len(outcome.standings)} candidates and "
        f"vanilla, {seeds} seeds; {cost(rungs):.3g} whole runs of {full}, {cost(rungs) / full:.2f} of the grid",
        natural_line(outcome.natural),
        "",
    ]
    width = max(len(VANILLA), *(len(each.label) for each in outcome.standings))
    for place, each in enumerate(outcome.standings, 1):
        lines.append(f"{place:>3}  {each.label:<{width}}  {_result(each, made)}")
    last = outcome.vanilla[-1]
    mean = sum(last.values()) / len(last)
    lines += [f"{'':>3}  {VANILLA:<{width}}  {mean:.5g}, what the others are compared with", ""]
    lines += [made.sentence, *(f"note: {remark}" for remark in made.remarks), "", f"train with: {made.command}"]
    return "\n".join(lines)


def _result(each: Standing, made: Report) -> str:
    if each.failed or each.change is None:
        return "failed"
    rung = made.outcome.rungs[each.rung]
    how_far = "" if rung.share == 1 else f", at {100 * rung.share:.3g} % of a run"
    return f"{interval_text(each.change, made.outcome.unit)}, {each.change.verdict}, {each.change.pairs} seeds{how_far}"


def _plain(made: Report) -> dict[str, Any]:
    """ranking.json. An interval of one pair is null: JSON has no infinity."""
    outcome = made.outcome
    standings = []
    for each in outcome.standings:
        change = each.change
        standings.append(
            {
                "label": each.label,
                "sparse": None if each.candidate.sparse is None else each.candidate.sparse.flat(),
                "share": outcome.rungs[each.rung].share if each.rung >= 0 else 0,
                "values": each.values,
                "failed": each.failed or None,
                "change": None
                if change is None
                else {
                    name: None if isinstance(value, float) and not math.isfinite(value) else value
                    for name, value in vars(change).items()
                },
            }
        )
    return {
        "version": 1,
        "metric": outcome.target.goal.metric,
        "lower_is_better": outcome.target.goal.lower,
        "unit": outcome.unit,
        "chosen": outcome.chosen.label,
        "sentence": made.sentence,
        "remarks": made.remarks,
        "command": made.command,
        "rungs": [vars(rung) for rung in outcome.rungs],
        "whole_runs": cost(outcome.rungs),
        "natural_density": outcome.natural.density,
        "vanilla": outcome.vanilla,
        "standings": standings,
    }

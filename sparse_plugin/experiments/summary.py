"""What recorded runs came to, in two sentences: what the rule tells apart, and what it does not."""

from __future__ import annotations

from collections.abc import Iterable

from sparse_plugin.experiments import page, restored_page, statistics
from sparse_plugin.experiments.comparison import Compared, RunGroup
from sparse_plugin.experiments.restored_page import RestorationGroup
from sparse_plugin.experiments.table4_report import OUTPUTS
from sparse_plugin.runs.methods import VANILLA

OPEN = "not told apart"


def summary(groups: Iterable[RunGroup], restorations: Iterable[RestorationGroup] = ()) -> str:
    """All comparisons in two sentences, with the interval and p of those that are told apart; empty where there is none."""
    of = [(page.title(group), page.measured_as(group), 1, "%", group.compared) for group in groups]
    of += [
        (restored_page.title(group), what, 2, "dB", group.compared[output])
        for group in restorations
        for output, what in OUTPUTS.items()
    ]
    told, rest, left = [], [], []
    for what, metric, digits, unit, compared in of:
        apart = [found for found in compared if found.change and found.change.verdict != OPEN]
        others = [found for found in compared if found not in apart]
        told += [f"{what}, {metric}: {', '.join(_told(found, digits, unit) for found in apart)}"] if apart else []
        rest += [f"{what}, {metric}: {_left(others)}"] if others else []
        left += others
    if not left and not told:
        return ""
    sentences = [f"By the rule these are told apart: {'; '.join(told)}." if told else "By the rule nothing is told apart yet."]
    if rest:
        short = sum(found.change is None or found.change.least >= statistics.LEVEL for found in left)
        few = f"; too few pairs, whatever their runs come to: {short} of {len(left)}" if short else ""
        sentences.append(f"Not told apart: {'; '.join(rest)}{few}.")
    return " ".join(sentences)


def _told(found: Compared, digits: int, unit: str) -> str:
    change = found.change
    assert change is not None
    return (
        f"{found.method} is {change.verdict} than {_other(found)} ({change.mean:+.{digits}f} {unit}, 95 % interval "
        f"{page.bounds(change, digits)}, p by Holm {change.adjusted:.2g}, {change.pairs} pairs)"
    )


def _left(others: Iterable[Compared]) -> str:
    alike: dict[tuple[str, int], list[str]] = {}
    for found in others:
        pairs = found.change.pairs if found.change else 0
        alike.setdefault((_other(found), pairs), []).append(found.method)
    parts = []
    for (other, pairs), (*methods, last) in alike.items():
        named = f"{', '.join(methods)} and {last}" if methods else last
        parts.append(f"{named} from {other} ({pairs} pair{'' if pairs == 1 else 's'}{' each' if methods else ''})")
    return ", ".join(parts)


def _other(found: Compared) -> str:
    return "vanilla" if found.base == VANILLA else found.base

"""Recorded runs of one group: the distance over steps, and the paired change of every method with its interval."""

from __future__ import annotations

import math
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparse_plugin.experiments import comparison
from sparse_plugin.experiments.comparison import RunGroup
from sparse_plugin.figures.palette import colours
from sparse_plugin.runs.appearance import title
from sparse_plugin.runs.methods import VANILLA
from sparse_plugin.support.plot_style import FAINT, INK, quiet, style


def draw(group: RunGroup) -> Figure:
    """Left, of runs that were measured more than once: mean over seeds, thin lines the seeds. Right: a point a pair, the mean
    change and its 95 % interval.
    """
    ink = colours(group.methods)
    with style():
        if not group.followed:
            figure = Figure(figsize=(8, 3.8), layout="constrained")
            _changes(figure.subplots(), group, ink)
            return figure
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _steps(left, group, ink)
        _changes(right, group, ink)
        figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def _steps(axes: Axes, group: RunGroup, ink: dict[str, str]) -> None:
    for method in group.methods:
        runs = group.of(method)
        steps = [step for step in runs[0].scores if all(run.value(group.metric, step) is not None for run in runs)]
        for run in runs if len(runs) > 1 else ():
            axes.plot(steps, [run.scores[s][group.metric][0] for s in steps], color=ink[method], lw=0.5, alpha=0.4)
        means = [mean(run.scores[step][group.metric][0] for run in runs) for step in steps]
        name = title(method).replace("\n", " ")
        axes.plot(steps, means, color=ink[method], lw=1.6, marker="." if len(steps) < 3 else "", label=name)
    axes.axvspan(min(group.late), max(group.late), color=FAINT, alpha=0.35, lw=0)
    axes.set(xlabel="steps", ylabel=f"{group.metric}, lower is better", title="mean over seeds, thin: each; shaded: what is compared")
    quiet(axes)


def _changes(axes: Axes, group: RunGroup, ink: dict[str, str]) -> None:
    names = []
    for place, found in enumerate(group.compared):
        both = comparison.pairs(group, found.method, found.base)
        points = [100 * (group.primary(one) / group.primary(other) - 1) for one, other in both]
        axes.plot([place] * len(points), points, ".", color=ink[found.method], ms=6, alpha=0.6)
        if found.change is not None:
            low, high = found.change.low, found.change.high
            if math.isfinite(high):
                axes.plot([place + 0.2] * 2, [low, high], color=INK, lw=1.2)
            axes.plot([place + 0.2], [found.change.mean], "D", color=INK, ms=4)
        against = "" if found.base == VANILLA else f"\nagainst\n{title(found.base).replace(chr(10), ' ')}"
        names.append(title(found.method) + against)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(range(len(names)), names, fontsize=8.5)
    axes.set(xlim=(-0.6, max(len(names), 1) - 0.4), ylabel=f"change of {group.metric}, %", title="each pair; mean and 95 % interval")
    quiet(axes)

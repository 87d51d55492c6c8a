"""Figures 4a and B of the paper: the sparsity level and the Fréchet distance of every method, a row an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from sparse_plugin.errors import ConfigError
from sparse_plugin.figures.kind import Kind
from sparse_plugin.figures.palette import colours
from sparse_plugin.runs.appearance import title
from sparse_plugin.support.plot_style import INK, quiet, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparse_plugin.evaluate.outcome import Outcome

DISTANCES = ("FID", "FD-lite0")


def draw(runs: Sequence[Path]) -> Figure:
    """Mean over seeds; a line from the least to the greatest, where there are several."""
    from matplotlib.figure import Figure

    from sparse_plugin.figures.measured import measured

    groups = measured(runs)
    outcomes = [found for methods in groups.values() for several in methods.values() for found in several]
    metric = next((name for name in DISTANCES if all(name in found.scores for found in outcomes)), None)
    if metric is None:
        raise ConfigError(
            f"the runs have no distance in common; measure all of them with {' or '.join(DISTANCES)}: `sparse-plugin "
            "evaluate RUN --data PATH --metric FD-lite0 --save`"
        )
    most = max(map(len, groups.values()))
    with style():
        figure = Figure(figsize=(2 * max(3.4, 0.95 * most + 0.6), 2.7 * len(groups)), layout="constrained")
        rows = figure.subplots(len(groups), 2, squeeze=False)
        for (name, methods), (left, right) in zip(groups.items(), rows, strict=True):
            _bars(left, {label: [o.sparsity for o in several] for label, several in methods.items()}, "{:.1f}")
            left.set(title=name, ylabel="non-zeros of Γ, %")
            _bars(right, {label: [_value(o, metric) for o in several] for label, several in methods.items()}, "{:.1f}")
            right.set(ylabel=f"{metric}, lower is better")
    return figure


def _value(outcome: Outcome, metric: str) -> float:
    value = outcome.value(metric)
    assert value is not None  # `draw` chose a metric that all have
    return value


def _bars(axes: Axes, values: dict[str, list[float]], form: str) -> None:
    colour = colours(values)
    for place, (label, several) in enumerate(values.items()):
        axes.bar(place, mean(several), width=0.66, color=colour[label])
        axes.plot([place, place], [min(several), max(several)], color=INK, lw=1.1, solid_capstyle="butt")
        spread = f"\n± {stdev(several):.1f}" if len(several) > 1 else ""
        axes.annotate(
            form.format(mean(several)) + spread,
            (place, max(several)),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.set_xticks(range(len(values)), [title(label) for label in values], fontsize=8.5)
    axes.margins(y=0.24)
    axes.set_ylim(bottom=0)
    quiet(axes)


FIGURE = Kind("sparsity level and distance of every method", draw, order=0)

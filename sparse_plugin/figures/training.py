"""Losses and sparsity level over training, a line a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.figures.kind import Kind
from sparse_plugin.figures.palette import colours
from sparse_plugin.runs.appearance import rank, title
from sparse_plugin.runs.methods import label_of
from sparse_plugin.support.files import lines
from sparse_plugin.support.plot_style import INK, blank, marker, quiet, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (
    ("generator/adversarial", "generator's adversarial loss"),
    ("discriminator/adversarial", "discriminator's adversarial loss"),
    ("sparsity_1", "non-zeros of Γ, %"),
)

DASHES = (0, (3, 2))


def draw(runs: Sequence[Path]) -> Figure:
    """Seeds of one method in one colour; losses as means over a twentieth of the run; Γ before its projection dashed.

    A panel of what no run measured says so. Raises ConfigError where a run has no log.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    from sparse_plugin.runs.rundir import LOG, RunDirectory

    unordered = {run: label_of(RunDirectory(run).config().sparse) for run in runs}
    labels = {run: unordered[run] for run in sorted(runs, key=lambda run: rank(unordered[run]))}
    records = {run: list(lines(run / LOG)) if (run / LOG).is_file() else [] for run in runs}
    empty = next((run for run in runs if not records[run]), None)
    if empty is not None:
        raise ConfigError(f"{empty} has no {LOG} with steps in it; train it first")
    colour = colours(dict.fromkeys(labels.values()))
    with style():
        figure = Figure(figsize=(11.5, 3.1), layout="constrained")
        dashed = False
        for axes, (key, name) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            drawn = False
            for run in labels:
                ink = colour[labels[run]]
                drawn |= _line(axes, records[run], key, ink, "-", smooth=key != "sparsity_1")
                if key == "sparsity_1":
                    dashed |= _line(axes, records[run], "sparsity_before_1", ink, DASHES)
            axes.set(xlabel="step of the generator", title=name)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            quiet(axes)
            axes.margins(y=0.08)
            if key == "sparsity_1":
                axes.set_ylim(bottom=0)
            if not drawn:
                blank(axes, "not in the logs of these runs")
        handles = [Line2D([], [], color=ink, label=title(label).replace("\n", " ")) for label, ink in colour.items()]
        if dashed:
            handles.append(Line2D([], [], color=INK, ls=DASHES, lw=1.0, label="before the projection"))
        figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _line(axes: Axes, records: list[dict[str, Any]], key: str, colour: str, dashes: Any, smooth: bool = False) -> bool:
    """Whether there was anything to draw."""
    both = ((record.get("step"), record.get(key)) for record in records)
    points = [(at, value) for at, value in both if isinstance(at, (int, float)) and isinstance(value, (int, float))]
    if not points:
        return False
    size = max(1, len(points) // 20) if smooth else 1
    parts = [points[i : i + size] for i in range(0, len(points) - size + 1, size)]
    steps, values = zip(*((part[-1][0], sum(v for _, v in part) / len(part)) for part in parts), strict=True)
    solid = dashes == "-"
    hollow: dict[str, Any] = {} if solid else {"mfc": "white"}
    axes.plot(steps, values, color=colour, ls=dashes, lw=1.4 if solid else 1.0, marker=marker(len(parts)), **hollow)
    return True


FIGURE = Kind("losses and sparsity level over steps", draw, order=1)

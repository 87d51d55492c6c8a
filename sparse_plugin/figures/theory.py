"""The theory's report as a figure: how full the stripes of Γ are, beside the number below which its bounds hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_plugin.figures.kind import Kind
from sparse_plugin.figures.palette import colours
from sparse_plugin.runs.appearance import rank, title
from sparse_plugin.support.plot_style import FAINT, quiet, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sparse_plugin.theory.layer import Layer


def draw(runs: Sequence[Path]) -> Figure:
    """A panel a layer: the share of stripes by their non-zeros, a line a run, and where the bounds of uniqueness end."""
    from matplotlib.figure import Figure

    from sparse_plugin.evaluate.theory import of_trained
    from sparse_plugin.gans.trained import load_trained
    from sparse_plugin.runs.methods import label_of

    found: list[tuple[str, tuple[Layer, ...]]] = []
    for run in runs:
        trained = load_trained(run)
        found.append((label_of(trained.config.sparse), of_trained(trained).layers))
    found.sort(key=lambda pair: rank(pair[0]))
    names = list(dict.fromkeys(layer.name for _, layers in found for layer in layers))
    paint = colours(dict.fromkeys(label for label, _ in found))
    with style():
        figure = Figure(figsize=(max(6.5, 4.2 * len(names)), 3.8), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            _panel(axes, name, [(label, layer) for label, layers in found for layer in layers if layer.name == name], paint)
        named = {text: line for axes in figure.axes for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _panel(axes: Axes, name: str, layers: Sequence[tuple[str, Layer]], paint: dict[str, str]) -> None:
    named: set[str] = set()
    for label, layer in layers:
        edges, shares = layer.histogram()
        shown = None if label in named else " ".join(title(label).split())
        named.add(label)
        bars = [100 * share for share in shares], [max(edge, 0.5) for edge in edges]
        axes.stairs(*bars, color=paint[label], alpha=0.25, fill=True)
        axes.stairs(*bars, color=paint[label], lw=1.2, label=shown)
        if math.isfinite(layer.limit):
            axes.axvline(layer.limit, color=paint[label], lw=1, ls=":")
    best = max((layer.best_limit for _, layer in layers if math.isfinite(layer.best_limit)), default=None)
    if best is not None:
        axes.axvspan(0.5, best, color=FAINT, alpha=0.6, lw=0, zorder=0, label="where the least coherent D would be unique")
    axes.set_xscale("log")
    axes.set(xlim=(0.5, None), title=name, xlabel="non-zeros of a stripe of Γ; dotted: the limit of its D", ylabel="stripes, %")
    quiet(axes)


FIGURE = Kind("how full the stripes of Γ are, beside the bounds of uniqueness", draw, order=40)

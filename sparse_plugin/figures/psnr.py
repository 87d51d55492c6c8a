"""Table 4 as curves: PSNR over the iterations of Deep Image Prior, mean over images and runs."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from sparse_plugin.experiments.table4_report import OUTPUTS, Outcome
from sparse_plugin.figures.groups import rank
from sparse_plugin.figures.style import colours, quiet, style, title


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """A panel for the single and one for the averaged output; a line a method."""
    methods = sorted({made.method for made in outcomes}, key=rank)
    ink = colours(methods)
    with style():
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (output, what) in zip(panels, OUTPUTS.items(), strict=True):
            for method in methods:
                curves = [made.curves[output] for made in outcomes if made.method == method]
                values = [sum(at) / len(at) for at in zip(*curves, strict=True)]
                steps = [10 * (i + 1) for i in range(len(values))]
                axes.plot(steps, values, color=ink[method], lw=1.5, label=title(method).replace("\n", " "))
            axes.set(xlabel="iteration", title=what.removeprefix("best "))
            quiet(axes)
        panels[0].set_ylabel("PSNR, dB")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure

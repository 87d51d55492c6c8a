"""Table 4 as curves: PSNR over the iterations of Deep Image Prior, mean over images and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparse_plugin.errors import ConfigError
from sparse_plugin.figures.kind import Kind
from sparse_plugin.figures.palette import colours
from sparse_plugin.runs.appearance import rank, title
from sparse_plugin.support.plot_style import marker, quiet, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sparse_plugin.experiments.table4_report import DenoisingOutcome


def find(folders: Sequence[str]) -> Sequence[DenoisingOutcome]:
    """The restorations of table 4 in folders."""
    from sparse_plugin.experiments import denoising_run

    return denoising_run.find(folders)


def draw(outcomes: Sequence[DenoisingOutcome]) -> Figure:
    """A panel for the single and one for the averaged output; a line a method.

    A mean is over the images and runs that every method has. Raises ConfigError where there are none, and for restorations that end
    before the first point of a curve, or after different iterations.
    """
    from matplotlib.figure import Figure

    from sparse_plugin.experiments.table4_report import OUTPUTS, common

    outcomes = common(outcomes)
    if not outcomes:
        raise ConfigError("the methods have no image and run in common, over which to take means; draw fewer, or finish them")
    lengths = {len(made.curves[output]) for made in outcomes for output in OUTPUTS}
    if lengths == {0}:
        raise ConfigError(
            "a curve of table 4 has a point every 10 iterations, and these restorations have fewer; make some with more"
        )
    if len(lengths) > 1:
        raise ConfigError(
            f"the restorations do not compare: they have {' and '.join(str(10 * n) for n in sorted(lengths))} iterations; "
            "draw them apart, or make them alike"
        )
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
                axes.plot(
                    steps,
                    values,
                    color=ink[method],
                    lw=1.5,
                    marker=marker(len(steps)),
                    label=title(method).replace("\n", " "),
                )
            axes.set(xlabel="iteration", title=what.removeprefix("best "))
            quiet(axes)
        panels[0].set_ylabel("PSNR, dB")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


FIGURE = Kind("PSNR over the iterations of table 4", draw, find, order=2)

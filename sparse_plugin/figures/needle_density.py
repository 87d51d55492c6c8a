"""Figure 4b of the paper: the mean density of the needle at every position, every method on one colour scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sparse_plugin.figures.kind import Kind
from sparse_plugin.runs.appearance import title
from sparse_plugin.support.plot_style import MAP, style

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure


def draw(runs: Sequence[Path]) -> Figure:
    """Mean over samples and seeds; a row an architecture, each with its own scale."""
    from sparse_plugin.figures.measured import measured

    return drawn(measured(runs))


class Measured(Protocol):
    """What Γ of a run was measured to be; see `Outcome`."""

    @property
    def levels(self) -> list[dict[str, Any]]: ...


def drawn(groups: Mapping[str, Mapping[str, Sequence[Measured]]]) -> Figure:
    """The same of runs by architecture and method."""
    import numpy as np
    from matplotlib.figure import Figure

    most = max(map(len, groups.values()))
    with style():
        figure = Figure(figsize=(1.62 * most + 1.1, 2.15 * len(groups) + 0.1), layout="constrained")
        for part, (name, methods) in zip(
            np.atleast_1d(np.array(figure.subfigures(len(groups), 1))), groups.items(), strict=True
        ):
            maps = {label: 100 * _mean(several) for label, several in methods.items()}
            top = max(float(density.max()) for density in maps.values())
            axes = part.subplots(1, most, squeeze=False)[0]
            for place in axes[len(maps) :]:
                place.set_visible(False)
            for place, (label, density) in zip(axes, maps.items(), strict=False):
                shown = place.imshow(density, vmin=0, vmax=top, cmap=MAP, interpolation="nearest")
                place.set_title(title(label), fontsize=9)
                place.set(xticks=[], yticks=[])
                for spine in place.spines.values():
                    spine.set_visible(False)
                flat = f"{density.min():.0f} to {density.max():.0f} %"
                place.set_xlabel(flat, fontsize=8.5)
            axes[0].set_ylabel(name)
            scale = part.colorbar(shown, ax=list(axes[: len(maps)]), fraction=0.03, pad=0.015)
            scale.outline.set_visible(False)
            scale.ax.tick_params(length=0)
            scale.set_label("non-zeros of a needle, %", fontsize=8.5)
    return figure


def _mean(several: Sequence[Measured]) -> npt.NDArray[np.float64]:
    import numpy as np

    maps: npt.NDArray[np.float64] = np.array([found.levels[0]["needle_density"] for found in several], np.float64)
    mean: npt.NDArray[np.float64] = maps.mean(0)
    return mean


FIGURE = Kind("needle density at every position, every method", draw, order=0)

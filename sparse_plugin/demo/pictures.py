"""The demo's pictures: samples, sparsity level over steps, needle-density maps, atoms of D1."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from sparse_plugin.demo.result import TrainedResult
from sparse_plugin.support.plot_style import render

MAP = "magma"

Results = tuple[TrainedResult, TrainedResult]  # without and with the constraint


@dataclass(frozen=True)
class Theme:
    """Colours on a light or a dark page: paper, ink, faint lines, one accent for the constrained run."""

    paper: str
    ink: str
    faint: str
    accent: str


LIGHT = Theme("#ffffff", "#1f2328", "#d5d9de", "#c2410c")
DARK = Theme("#16181d", "#e4e6eb", "#3a3f47", "#fb923c")


@contextmanager
def _style(theme: Theme, size: float) -> Iterator[None]:
    inked = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
    faint = ("axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    settings: dict[Any, Any] = {
        **dict.fromkeys(inked, theme.ink),
        **dict.fromkeys(faint, theme.faint),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), theme.paper),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        **dict.fromkeys(("font.size", "axes.titlesize"), size),
    }
    with rc_context(settings):
        yield


def _png(figure: Figure, dpi: int) -> bytes:
    stream = io.BytesIO()
    render(figure, stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def pixels(images: Tensor) -> np.ndarray[Any, Any]:
    """(N, 3, H, W) with values in [-1, 1], as (N, H, W, 3) bytes."""
    bytes_ = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(bytes_.permute(0, 2, 3, 1).numpy())


def mosaic(images: Tensor, columns: int, scale: int, gap: int) -> np.ndarray[Any, Any]:
    """Images in rows, each pixel `scale` pixels wide (nearest), on transparent gaps: (height, width, 4) bytes."""
    tiles = pixels(images).repeat(scale, 1).repeat(scale, 2)
    count, height, width = tiles.shape[:3]
    rows = -(-count // columns)
    canvas = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        canvas[top : top + height, left : left + width, :3] = tile
        canvas[top : top + height, left : left + width, 3] = 255
    return canvas


def painted_atoms(result: TrainedResult, scale: int, gap: int) -> np.ndarray[Any, Any]:
    """The atoms of D1 as colours around mid-grey, the most used first; one contrast for the whole dictionary."""
    order = result.measured.atom_usage.argsort(descending=True, stable=True)
    atoms = result.atoms[order]
    return mosaic(atoms / atoms.abs().max(), math.ceil(math.sqrt(len(atoms))), scale, gap)


def png(canvas: np.ndarray[Any, Any]) -> bytes:
    """A canvas as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _curve(axes: Axes, results: Results, theme: Theme) -> None:
    vanilla, sparse = results
    steps, _, level = vanilla.curve
    points = "." if len(steps) < 3 else ""  # a line of one point is nothing
    axes.plot(steps, level, color=theme.ink, lw=1.8, marker=points)
    steps, before, after = sparse.curve
    axes.plot(steps, before, color=theme.accent, lw=1.3, ls=(0, (4, 2)), marker=points)
    axes.plot(steps, after, color=theme.accent, lw=2.2, marker=points)
    top = max(*level, *before, 1.0) * 1.25
    axes.set(xlim=(0, max(steps)), ylim=(0, top), xlabel="step of the generator", ylabel="non-zeros of Γ, %")
    axes.grid(axis="y", lw=0.6)
    axes.tick_params(length=0)
    key = [
        ("vanilla", theme.ink, "-"),
        ("l0_inf", theme.accent, "-"),
        ("l0_inf, before its projection", theme.accent, (0, (4, 2))),
    ]
    for name, colour, dash in key:
        axes.plot([], [], color=colour, ls=dash, lw=1.8, label=name)
    axes.legend(
        frameon=False,
        ncols=3,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def _maps(figure: Figure, axes: Sequence[Axes], bar: Axes, results: Results, theme: Theme) -> None:
    maps = [100 * result.measured.needle_density for result in results]
    top = max(float(density.max()) for density in maps)
    for place, result, density in zip(axes, results, maps, strict=True):
        drawn = place.imshow(density.numpy(), vmin=0, vmax=top, cmap=MAP, interpolation="nearest")
        place.set(xticks=[0, 31], yticks=[0, 31])
        place.tick_params(length=0)
        for spine in place.spines.values():
            spine.set_visible(False)
        place.set_title(result.training.name, loc="left", color=theme.ink if place is axes[0] else theme.accent)
    axes[1].set_yticklabels([])
    scale = figure.colorbar(drawn, cax=bar)
    scale.outline.set_visible(False)
    scale.ax.tick_params(length=0)
    scale.set_label("non-zeros of a needle, %")


def curve(results: Results, theme: Theme) -> bytes:
    """Sparsity level over steps, one panel."""
    with _style(theme, 10):
        figure = Figure(figsize=(5.2, 2.75), layout="constrained")
        _curve(figure.subplots(), results, theme)
        return _png(figure, 200)


def maps(results: Results, theme: Theme) -> bytes:
    """The needle-density maps (paper, figure 4b) on one colour scale, one panel."""
    with _style(theme, 10):
        figure = Figure(figsize=(5.2, 2.4), layout="constrained")
        left, right, bar = figure.subplots(1, 3, width_ratios=(1, 1, 0.06))
        _maps(figure, (left, right), bar, results, theme)
        return _png(figure, 200)


def overview(results: Results, title: str, note: str) -> bytes:
    """All of it in one picture, 1600 by 890 pixels; tiles and maps are whole pixels wide."""
    theme = LIGHT
    with _style(theme, 10):
        canvas = _Canvas(Figure(figsize=(16, 8.9), dpi=100))
        canvas.text(40, 38, title, size=17, weight="bold")
        canvas.text(40, 72, note, size=11.5)
        for left, result in zip((40, 840), results, strict=True):
            heading = f"{result.training.name}: {result.measured.sparsity:.1f} % of Γ non-zero"
            canvas.text(left, 116, heading, size=12.5, weight="bold", color=_colour(result, theme))
            canvas.image(left, 132, mosaic(result.images[:28], 7, 3, 8))
        headings = ("Sparsity level over steps", "Needle density at every position", "Atoms of D1, most used first")
        for left, text in zip((40, 640, 1140), headings, strict=True):
            canvas.text(left, 586, text, size=12.5, weight="bold")
        _curve(canvas.axes(95, 634, 455, 192), results, theme)
        maps_ = canvas.axes(640, 634, 192, 192), canvas.axes(852, 634, 192, 192)
        _maps(canvas.figure, maps_, canvas.axes(1056, 634, 12, 192), results, theme)
        for left, result in zip((1140, 1360), results, strict=True):
            canvas.text(left, 620, result.training.name, color=_colour(result, theme))
            canvas.image(left, 634, painted_atoms(result, 10, 4))
        return _png(canvas.figure, 100)


@dataclass(frozen=True)
class _Canvas:
    """A figure in pixels from its top left corner."""

    figure: Figure

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        across, down = self.figure.get_size_inches() * self.figure.dpi
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def text(self, left: float, middle: float, text: str, **style: Any) -> None:
        across, down = self.figure.get_size_inches() * self.figure.dpi
        self.figure.text(left / across, 1 - middle / down, text, va="center", **style)

    def image(self, left: int, top: int, pixels: np.ndarray[Any, Any]) -> None:
        axes = self.axes(left, top, pixels.shape[1], pixels.shape[0])
        axes.imshow(pixels, interpolation="nearest", aspect="auto")
        axes.set_axis_off()


def _colour(result: TrainedResult, theme: Theme) -> str:
    return theme.ink if result.training.name == "vanilla" else theme.accent

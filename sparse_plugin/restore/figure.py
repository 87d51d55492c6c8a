"""The picture of a restoration: what was given, the result, the sparsity level of every scale over the iterations."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparse_plugin.restore.pictures import Array
from sparse_plugin.restore.result import RestorationResult
from sparse_plugin.support.plot_style import INK, blank, marker, quiet, render, style

_SINGLE, _AVERAGE = "#56B4E9", "#D55E00"


def report(title: str, given: Array, result: RestorationResult, clean: Array | None = None, single: bool = False) -> bytes:
    """A PNG: the images in a row; below, the sparsity level of Γ_1..Γ_K, the loss, and PSNR or the rule's variance.

    given, clean: (H, W) or (H, W, 3) with values in [0, 1]. single: show the output of one iteration, not the average.
    """
    name, image = ("single output of", result.single) if single else ("averaged to", result.image)
    images = [
        ("given", "given", given),
        ("single" if single else "average", f"result, {name} iteration {result.iteration}", image),
    ]
    if clean is not None:
        images.append(("clean", "clean", clean))
    with style():
        figure = Figure(figsize=(12, 7.2), layout="constrained")
        rows: Any = figure.subfigures(2, 1, height_ratios=(1.35, 1))
        above, below = rows
        above.suptitle(title, x=0.01, ha="left", fontsize=12)
        for axes, (key, heading, shown) in zip(np.ravel(above.subplots(1, len(images))), images, strict=True):
            _show(axes, key, heading, shown, result)
        levels, loss, last = below.subplots(1, 3)
        _levels(levels, result)
        _loss(loss, result)
        if result.curves.psnr_single:
            _psnr(last, result)
        else:
            _variance(last, result)
        for axes in (levels, loss, last):
            if len(axes.get_xticks()):
                axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        stream = io.BytesIO()
        render(figure, stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()


def _show(axes: Axes, key: str, heading: str, image: Array, result: RestorationResult) -> None:
    merits = [
        f"{kind} {result.scores[f'{low}_{key}']:{digits}}"
        for kind, low, digits in (("PSNR", "psnr", ".2f"), ("SSIM", "ssim", ".3f"))
        if f"{low}_{key}" in result.scores
    ]
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if image.ndim == 2 else {}
    axes.imshow(image.clip(0, 1), interpolation="nearest", **grey)
    axes.set_axis_off()
    axes.set_title(f"{heading}, {image.shape[1]}x{image.shape[0]}" + (f"\n{', '.join(merits)}" if merits else ""))


def _levels(axes: Axes, result: RestorationResult) -> None:
    steps = list(result.curves.density)
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(result.scales)))
    for i, ((height, width), shade) in enumerate(zip(result.scales, shades, strict=True)):
        level = [100 * density[i] for density in result.curves.density.values()]
        # Scales often lie on each other: the finer ones are drawn wider, below.
        wide = 1.2 + 0.9 * (len(shades) - 1 - i)
        axes.plot(
            steps,
            level,
            color=shade,
            lw=wide,
            marker=marker(len(steps)),
            label=f"Γ{i + 1} {width}x{height}",
        )
    axes.set(xlabel="iteration", title="non-zeros of every scale's Γ, %", ylim=(0, 105))
    quiet(axes)
    if steps:
        _below(axes, 3)
    else:
        blank(axes, "not measured in these iterations")


def _loss(axes: Axes, result: RestorationResult) -> None:
    axes.plot(_steps(result.curves.loss), result.curves.loss, color=INK, lw=0.8, marker=marker(len(result.curves.loss)))
    axes.set(xlabel="iteration", title="loss: mean squared error to what is given", yscale="log")
    _mark(axes, result)
    _below(axes, 1)


def _psnr(axes: Axes, result: RestorationResult) -> None:
    for name, values, colour in (
        ("single output", result.curves.psnr_single, _SINGLE),
        ("averaged", result.curves.psnr_average, _AVERAGE),
    ):
        axes.plot(_steps(values), values, color=colour, lw=1.0, marker=marker(len(values)), label=name)
    axes.set(xlabel="iteration", title="PSNR against the clean image, dB")
    _mark(axes, result)
    _below(axes, 3)


def _variance(axes: Axes, result: RestorationResult) -> None:
    axes.plot(_steps(result.curves.variance), result.curves.variance, color=INK, lw=1.0)
    known = int(np.isfinite(result.curves.variance).sum())
    held_out = result.chosen is not None and result.chosen.pixels > 0
    axes.set(xlabel="iteration", title="error at the held-out pixels" if held_out else "moving variance of the output")
    if not known:
        blank(axes, "none was taken: there are fewer\nthan 100 iterations, or no rule")
        return
    axes.lines[0].set_marker(marker(known))
    axes.set(yscale="log", xlim=(1, max(2, 1.02 * len(result.curves.loss))))
    _mark(axes, result)
    _below(axes, 1)


def _steps(values: list[float]) -> range:
    return range(1, len(values) + 1)


def _mark(axes: Axes, result: RestorationResult) -> None:
    """Where the result was taken."""
    axes.axvline(result.iteration, color=INK, lw=0.8, ls=(0, (3, 2)), label=f"the result, iteration {result.iteration}")
    quiet(axes)


def _below(axes: Axes, columns: int) -> None:
    """The legend under the axes, where it lies on no curve."""
    axes.legend(
        frameon=False, fontsize=8, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.2), columnspacing=1.2
    )

"""Figure A of the paper: the atoms of D1 and, where dictionaries were inserted, the effective atoms of D_eff = D1 D2 ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_plugin.errors import ConfigError
from sparse_plugin.figures.kind import Kind
from sparse_plugin.support.plot_style import style

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure
    from torch import Tensor

    from sparse_plugin.gans.trained import TrainedGenerator

GAP = 1


def draw(runs: Sequence[Path]) -> Figure:
    """One run. Each atom on its own scale around mid-grey, the most used first."""
    from matplotlib.figure import Figure

    from sparse_plugin.gans.trained import load_trained

    if len(runs) != 1:
        raise ConfigError(f"figure A shows the atoms of one run, and {len(runs)} were given; name one, best of ml_csc")
    trained = load_trained(runs[0])
    panels = _dictionaries(trained)
    with style():
        figure = Figure(figsize=(5.2 * len(panels), 5.5), layout="constrained")
        for axes, (name, dictionary) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            count, channels, height, width = dictionary.shape
            axes.imshow(_grid(dictionary), interpolation="nearest")
            axes.set_title(f"{name}: {count} atoms of {height}x{width}x{channels}")
            axes.set_axis_off()
    return figure


def _dictionaries(trained: TrainedGenerator) -> list[tuple[str, Tensor]]:
    from sparse_plugin.attachment.atoms import atoms, effective_atoms
    from sparse_plugin.attachment.attach import attach
    from sparse_plugin.attachment.handle import Attachment

    generator = trained.generator
    levels = trained.measure()
    order = levels[0].atom_usage.argsort(descending=True, stable=True)
    if Attachment.of(generator) is None:
        with attach(generator, "l0_inf", k=1.0, example_input=trained.inputs(2)):
            return [("D1", atoms(generator).detach()[order])]
    found = [("D1", atoms(generator).detach()[order])]
    if len(levels) > 1:
        deepest = levels[-1].atom_usage.argsort(descending=True, stable=True)
        name = "D_eff = " + " ".join(f"D{level}" for level in range(1, len(levels) + 1))
        found.append((name, effective_atoms(generator).detach()[deepest]))
    return found


def _grid(dictionary: Tensor) -> npt.NDArray[np.float32]:
    """Atoms (C, 3, H, W) as one picture, (height, width, 3), values in [0, 1]."""
    import numpy as np

    most = dictionary.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    tiles = (dictionary / most / 2 + 0.5).permute(0, 2, 3, 1).float().cpu().numpy()
    count, height, width, channels = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    picture = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), np.float32)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        picture[top : top + height, left : left + width] = tile
    return picture


FIGURE = Kind("atoms of D1 and of D_eff, of one run", draw, order=0)

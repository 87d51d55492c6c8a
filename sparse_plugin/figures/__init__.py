"""The figures that are drawn from runs: one file each, with a function that draws and a `Kind` that declares it.

What draws imports matplotlib and torch itself: `figure --help` and `list` load what declares the figures alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_plugin.errors import ConfigError
from sparse_plugin.support.files import make_folder, writing
from sparse_plugin.support.optional import need
from sparse_plugin.support.plot_style import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def make(kind: str, runs: Sequence[str], path: str | Path, force: bool = False) -> Path:
    """Draw a figure of runs into a file. Returns its path.

    kind: the name of one that is registered (see `kind.FIGURES`). runs: directories of runs, or that hold runs. path: where
    to, .png, .svg or .pdf. force: whether a file that is there is replaced.

    Raises ConfigError for a kind or a form that there is not, runs that lack what the figure shows, and a file that exists.
    """
    from sparse_plugin.figures.kind import named

    need("drawing a figure", "experiments", "matplotlib")
    asked = named(kind)
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"a figure is written as {', '.join(FORMATS)}, and {path} was asked for; name such a file")
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} exists; name another file, or replace it with --force")
    return save(asked.draw(asked.find(runs)), path)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure so that it is there whole or not at all. Returns its path. Raises OutputError."""
    make_folder(path.parent)
    with writing(path) as file:
        render(figure, file, dpi=160, format=path.suffix[1:].lower())
    return path

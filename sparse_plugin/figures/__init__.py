"""The paper's figures, drawn from runs: one module a figure, each with a function `draw`.

bars.py     4a and B: sparsity level and distance of every method
maps.py     4b: needle density at every position
atoms.py    A: the atoms of D1 and of D_eff
curves.py   losses and sparsity level over training
compared.py distance over steps and paired changes, of recorded runs
psnr.py     PSNR over the iterations of table 4
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.support.files import make_folder, writing
from sparse_plugin.support.optional import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"4a": "bars", "4b": "maps", "A": "atoms", "B": "bars", "training": "curves", "psnr": "psnr"}
FORMATS = (".png", ".svg", ".pdf")


def make(kind: str, runs: Sequence[str], path: str | Path, force: bool = False) -> Path:
    """Draw a figure of runs into a file. Returns its path.

    kind: in KINDS. runs: directories of runs, or that hold runs. path: where to, .png, .svg or .pdf. force: whether a file
    that is there is replaced.

    Raises ConfigError for a kind or a form that there is not, runs that lack what the figure shows, and a file that exists.
    """
    need("drawing a figure", "experiments", "matplotlib")
    known = {name.lower(): name for name in KINDS}
    if kind.lower() not in known:
        raise ConfigError(one_of("figure", kind, KINDS))
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigError(f"a figure is written as {', '.join(FORMATS)}, and {path} was asked for; name such a file")
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} exists; name another file, or replace it with --force")
    make_folder(path.parent)
    if kind.lower() == "psnr":
        from sparse_plugin.experiments import table4

        found: Sequence[Any] = table4.find(runs)
    else:
        from sparse_plugin.evaluate.outcome import find

        found = find(list(runs))
    figure = import_module(f"sparse_plugin.figures.{KINDS[known[kind.lower()]]}").draw(found)
    return save(figure, path)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure so that it is there whole or not at all. Returns its path. Raises OutputError."""
    make_folder(path.parent)
    with writing(path) as file:
        figure.savefig(file, dpi=160, format=path.suffix[1:])
    return path

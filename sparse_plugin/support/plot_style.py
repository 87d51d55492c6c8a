"""What the figures have in common: letters, lines, a colour a method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes

INK, FAINT = "#1f2328", "#d5d9de"
MAP = "magma"

# Distinct to all kinds of colour vision (Okabe and Ito); what is not named takes the rest in turn.
_NAMED = {
    **{"vanilla": "#6b7280", "l1": "#E69F00", "l0": "#56B4E9", "l0_inf": "#D55E00", "ml_csc": "#009E73"},
    "l0_channel": "#0072B2",
}
_OTHERS = ("#CC79A7", "#F0E442", "#000000")
_TITLES = {"l1": "L1", "l0": "L0", "l0_inf": "L0,∞", "l0_channel": "L0 a channel", "ml_csc": "ML"}


@contextmanager
def style() -> Iterator[None]:
    """Quiet axes; for drawing and for saving."""
    settings: dict[Any, Any] = {
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), FAINT),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 10),
        "axes.titlelocation": "left",
        "svg.fonttype": "none",
    }
    with rc_context(settings):
        yield


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour a label: the method's, lighter for every further label of the same method."""
    from matplotlib.colors import to_hex, to_rgb

    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    others = iter(_OTHERS * 20)
    for label in labels:
        name = label.partition("-")[0]
        base = _NAMED.get(name) or found.get(name) or next(others)
        lighter = min(0.3 * counts.get(name, 0), 0.75)
        counts[name] = counts.get(name, 0) + 1
        red, green, blue = (part + (1 - part) * lighter for part in to_rgb(base))
        found[label] = to_hex((red, green, blue))
    return found


def title(label: str) -> str:
    """A method with its settings, for people: "l0_inf-k=0.25" as "L0,∞" over "k 0.25"."""
    name, _, settings = label.partition("-")
    shown = _TITLES.get(name, name)
    return f"{shown}\n{settings.replace('=', ' ').replace('weight', 'λ')}" if settings else shown


def marker(points: int) -> str:
    """What makes a line of so few points visible, and of more nothing."""
    return "o" if points < 3 else ""


def blank(axes: Axes, why: str) -> None:
    """Say why there is nothing in axes, instead of showing them empty."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", fontsize=9, wrap=True)
    axes.set(xticks=[], yticks=[])


def quiet(axes: Axes) -> None:
    """A grid of horizontal lines, no ticks."""
    axes.grid(axis="y", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)

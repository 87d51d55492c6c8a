"""What the figures have in common: letters and lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#1f2328", "#d5d9de"
MAP = "magma"


@contextmanager
def style() -> Iterator[None]:
    """Quiet axes; for drawing and for saving."""
    from matplotlib import rc_context

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


def render(figure: Figure, file: Any, **how: Any) -> None:
    """Save a figure, whatever the names in it: what no font has is drawn as a replacement, and nothing of a name is a formula."""
    from matplotlib.text import Text

    ticks = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and id(text) not in ticks:
            written = text.get_text()
            drawable = written.encode("utf-8", "replace").decode("utf-8")
            text.set_parse_math(False)
            if drawable != written:
                text.set_text(drawable)
    figure.savefig(file, **how)


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

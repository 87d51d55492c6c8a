"""The page's drawings, as SVG that takes the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDE, HIGH = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 66, 30, 14, 44


@dataclass(frozen=True)
class Line:
    """A line of a chart. points: by share of a run. colour: of CSS."""

    label: str
    points: tuple[tuple[float, float], ...]
    colour: str
    strong: bool = False


def chart(lines: Sequence[Line], across: str, up: str, zero: str = "") -> str:
    """Lines over the share of a run. zero: what a value of 0 is called, and where a line is drawn for it."""
    values = [value for line in lines for _, value in line.points] + ([0.0] if zero else [])
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    shares = sorted({share for line in lines for share, _ in line.points})

    def x(share: float) -> float:
        # Rungs grow by a factor, so their logarithms are apart by as much.
        first = math.log(shares[0])
        whole = -first or 1.0
        return LEFT + (WIDE - LEFT - RIGHT) * (0.5 if len(shares) == 1 else (math.log(share) - first) / whole)

    def y(value: float) -> float:
        return TOP + (HIGH - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(up)} over {escape(across)}">']
    for tick in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for share in shares:
        parts.append(f'<text x="{x(share):.1f}" y="{HIGH - 20}" text-anchor="middle">{100 * share:.3g} %</text>')
    parts.append(f'<text x="{(LEFT + WIDE) / 2:.0f}" y="{HIGH - 3}" text-anchor="middle">{escape(across)}</text>')
    middle = (HIGH - BOTTOM + TOP) / 2
    parts.append(f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    if zero:
        parts.append(f'<line class="zero" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>')
        parts.append(f'<text x="{WIDE - RIGHT}" y="{y(0) - 5:.1f}" text-anchor="end">{escape(zero)}</text>')
    for line in sorted(lines, key=lambda each: each.strong):
        places = [(x(share), y(value)) for share, value in line.points]
        width = 3 if line.strong else 1.4
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        title = f"<title>{escape(line.label)}</title>"
        parts.append(f'<g style="stroke:{line.colour};fill:{line.colour}">{title}')
        parts.append(f'<polyline points="{path}" fill="none" stroke-width="{width}"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{3.4 if line.strong else 2.4}"/>' for a, b in places]
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def bar(low: float, mean: float, high: float, least: float, most: float, colour: str) -> str:
    """One interval on the scale from least to most, with a mark at 0 and one at the mean."""
    across, tall = 240, 20

    def x(value: float) -> float:
        return 4 + (across - 8) * (min(max(value, least), most) - least) / ((most - least) or 1)

    zero = f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{tall}"/>'
    line = f'<line style="stroke:{colour}" stroke-width="2" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="10" y2="10"/>'
    dot = f'<circle style="fill:{colour}" cx="{x(mean):.1f}" cy="10" r="4"/>'
    return f'<svg class="bar" viewBox="0 0 {across} {tall}" role="img" aria-label="interval">{zero}{line}{dot}</svg>'


def ticks(low: float, high: float) -> list[float]:
    """Some round values between two."""
    rough = (high - low) / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [round(step * number, 12) + 0.0 for number in range(math.ceil(low / step), math.floor(high / step) + 1)]

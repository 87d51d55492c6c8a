"""The site's map of the rooms: SVG, drawn from the arrows that pyproject.toml allows."""

from itertools import pairwise
from pathlib import Path
from statistics import mean

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
WIDTH, STEP, BOX, GAP = 760, 62, (112, 32), 14
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker>'
)
LABEL = "The rooms by height, with the arrows that no longer way implies; the table below has every arrow"


def on_page_markdown(markdown, page, config, files):
    """The map and the arrows one by one, where a page asks for them."""
    may = allowed()
    return markdown.replace("<!-- map of the rooms -->", f"{drawn(may)}\n\n{table(may)}")


def allowed():
    """What each room may import."""
    contracts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    lines = next(contract["rooms"] for contract in contracts if "rooms" in contract)
    return {name.strip(): others.split() for name, _, others in (line.partition("->") for line in lines)}


def table(may):
    """Every arrow, a row a room."""
    rows = [f"| `{room}` | {', '.join(others) or 'nothing'} |" for room, others in may.items()]
    return "\n".join(["| room | may import, besides `errors` |", "| --- | --- |", *rows])


def ways(may):
    """The height of every room, and for each arrow that no longer way implies what it passes: rooms at its ends, and a gap a floor."""

    def height(room):
        return 1 + max(map(height, may[room]), default=-1)

    def below(room):
        return {*may[room], *(deeper for other in may[room] for deeper in below(other))}

    heights = {room: height(room) for room in may}
    found = []
    for room, others in may.items():
        for other in others:
            if not any(other in below(between) for between in others):
                floors = range(heights[room] - 1, heights[other], -1)
                found.append([room, *((room, other, floor) for floor in floors), other])
    return heights, found


def placed(heights, found):
    """Where the middle of every room and gap is: floors are put in an order in which what is connected is close."""
    floors = {}
    for room, floor in heights.items():
        floors.setdefault(floor, []).append(room)
    for way in found:
        for gap in way[1:-1]:
            floors[gap[2]].append(gap)
    near = {}
    for way in found:
        for one, other in pairwise(way):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    x = {}
    for sweep in range(8):
        for floor in sorted(floors, reverse=sweep % 2 == 1):
            row = sorted(
                floors[floor],
                key=lambda one: mean([x[other] for other in near.get(one, []) if other in x] or [WIDTH / 2]),
            )
            widths = [BOX[0] if one in heights else 0 for one in row]
            free = (WIDTH - sum(widths)) / (len(row) + 1)
            for n, one in enumerate(row):
                x[one] = free * (n + 1) + sum(widths[:n]) + widths[n] / 2
    return x


def drawn(may):
    """The map as SVG in a figure."""
    heights, found = ways(may)
    x = placed(heights, found)
    top = max(heights.values())

    def y(one):
        return 1 + STEP * (top - (heights[one] if one in heights else one[2]))

    parts = []
    for room, *gaps, other in found:
        path, at = f"M{x[room]:.0f} {y(room) + BOX[1]}", (x[room], y(room) + BOX[1])
        for gap in gaps:  # straight down beside the boxes of the floor
            path += f"C{at[0]:.0f} {at[1] + GAP} {x[gap]:.0f} {y(gap) - GAP} {x[gap]:.0f} {y(gap)}V{y(gap) + BOX[1]}"
            at = (x[gap], y(gap) + BOX[1])
        path += f"C{at[0]:.0f} {at[1] + GAP} {x[other]:.0f} {y(other) - 2 * GAP} {x[other]:.0f} {y(other) - 2}"
        parts.append(f'<path class="arrow" d="{path}"/>')
    for room in heights:
        parts.append(f'<rect x="{x[room] - BOX[0] / 2:.0f}" y="{y(room)}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>')
        parts.append(f'<text x="{x[room]:.0f}" y="{y(room) + 21}">{room}</text>')
    size = f'viewBox="0 0 {WIDTH} {STEP * top + BOX[1] + 2}"'
    return f'<figure class="wide rooms"><svg {size} role="img" aria-label="{LABEL}"><defs>{TIP}</defs>{"".join(parts)}</svg></figure>'

"""The folders of tests that a change to a room touches: `python .ci/rooms.py ROOM` prints the room's and those of all above it.

ROOM may be the beginning of a name, as in `attach`.
"""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

from arrows import table

ROOT = Path(__file__).parents[1]


def rooms():
    """What each room may import, by name, as pyproject.toml says."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return table(contracts[0]["rooms"])


def touched(name, allowed):
    """The room that name begins, and every room that imports it, directly or not. Raises LookupError where there is none."""
    found = [room for room in allowed if room.startswith(name)]
    found = [name] if name in found else found
    if len(found) != 1:
        raise LookupError(f"{name!r} is {'the beginning of ' + ', '.join(found) if found else 'no room'}; give one of {', '.join(allowed)}")
    above = set(found)
    while more := {room for room, others in allowed.items() if others & above} - above:
        above |= more
    return [room for room in allowed if room in above]


def main():
    try:
        names = touched(sys.argv[1], rooms())
    except LookupError as error:
        sys.exit(f"ROOM: {error.args[0]}")
    print(*(f"tests/{name}" for name in names if (ROOT / "tests" / name).is_dir()))


if __name__ == "__main__":
    main()

"""The rooms: the contract fails on an arrow that is not listed, and a room's tests are its own and those above."""

import importlib.util

import grimp
import pytest
from arrows import Arrows, table
from rooms import ROOT, rooms, touched


def contract(*lines):
    session = {"root_packages": ["sparse_plugin"]}
    return Arrows("rooms", session, {"rooms": list(lines), "anywhere": ["errors"]})


def graph(*imports):
    made = grimp.ImportGraph()
    for importer, imported in imports:
        for module in (importer, imported):
            made.add_module(f"sparse_plugin.{module}")
        made.add_import(
            importer=f"sparse_plugin.{importer}", imported=f"sparse_plugin.{imported}", line_number=3, line_contents="x"
        )
    return made


@pytest.mark.parametrize(
    ("imports", "kept"),
    [
        ([("low.a", "low.b"), ("high.a", "low.a"), ("high.a", "errors")], True),
        ([("low.a", "high.a")], False),
        ([("high.a", "low.a"), ("other.a", "low.a")], False),  # a room that is in no line
        ([("low.a", "low.b")], False),  # a line of a room that is not there
    ],
)
def test_an_arrow_that_is_not_listed(imports, kept):
    assert contract("low ->", "high -> low").check(graph(*imports), False).kept is kept


def test_the_message_names_the_line():
    check = contract("low ->", "high -> low").check(graph(("high.a", "low.a"), ("low.b", "high.a")), False)
    assert check.metadata["wrong"] == ["sparse_plugin.low.b -> sparse_plugin.high.a (line 3)"]


def test_what_a_change_touches():
    allowed = table(["low ->", "middle -> low", "high -> middle", "aside -> low"])
    assert touched("low", allowed) == ["low", "middle", "high", "aside"]
    assert touched("mid", allowed) == ["middle", "high"]
    for wrong in ("none", ""):
        with pytest.raises(LookupError, match="give one of low, middle"):
            touched(wrong, allowed)


def test_every_room_has_tests_of_its_own():
    without = [room for room in rooms() if not list((ROOT / "tests" / room).glob("test_*.py"))]
    assert without == ["__main__"]


def test_the_map_has_every_room_and_implies_every_arrow_and_no_other():
    spec = importlib.util.spec_from_file_location("room_map", ROOT / "docs" / "room_map.py")
    room_map = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(room_map)
    may = room_map.allowed()
    heights, ways = room_map.ways(may)
    drawn = {}
    for room, *gaps, other in ways:
        assert [gap[2] for gap in gaps] == list(range(heights[room] - 1, heights[other], -1))
        drawn.setdefault(room, set()).add(other)

    def reached(room):
        return {*drawn.get(room, ()), *(deeper for other in drawn.get(room, ()) for deeper in reached(other))}

    for room, others in may.items():
        assert set(others) <= reached(room) and drawn.get(room, set()) <= set(others)
    picture = room_map.drawn(may)
    assert [picture.count(f">{room}</text>") for room in rooms()] == [1] * len(rooms())
    assert picture.count('class="arrow"') == len(ways)

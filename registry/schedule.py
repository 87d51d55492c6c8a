"""Schedules: a number that changes over training, in steps of the generator's optimizer."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from sparse_plugin.errors import ConfigError, one_of, shown

SHAPES = ("linear", "cosine")
# The most steps: up to here a float counts them exactly.
MOST = 2**53
_WAYS = "{start: 1.0, end: 0.25, steps: 5000, shape: cosine} or {points: [[0, 1.0], [5000, 0.25]]}"


@dataclass(frozen=True)
class Schedule:
    """A value at every step: that of the first point before it, of the last one after it, and between two of them

        linear:  v(t) = a + (b - a) · t,                t = (step - s_a) / (s_b - s_a)
        cosine:  v(t) = a + (b - a) · (1 - cos(π t)) / 2

    points: (step, value), by step. Whole numbers give whole numbers, rounded.
    """

    points: tuple[tuple[int, float], ...]
    shape: str = "linear"

    @classmethod
    def parse(cls, field: str, given: Mapping[str, Any]) -> Schedule:
        """What a config file says: a start, an end, and in how many steps from which one on (`begin`, 0 by default); or a list
        of points. Raises ConfigError, naming field, for anything else.
        """
        keys = ("points", "shape") if "points" in given else ("start", "end", "steps", "shape", "begin")
        for key in given:
            if key not in keys:
                raise ConfigError(f"the schedule of {field}: {one_of('key', str(key), keys)} Write {_WAYS}")
        shape = given.get("shape", "linear")
        if shape not in SHAPES:
            raise ConfigError(f"the schedule of {field}: {one_of('shape', str(shape), SHAPES)}")
        if "points" in given:
            return cls(_checked(field, given["points"]), shape)
        lacking = [key for key in ("start", "end", "steps") if key not in given]
        if lacking:
            raise ConfigError(f"the schedule of {field} has no {lacking[0]}; write {_WAYS}")
        begin, steps = given.get("begin", 0), given["steps"]
        for key, value in (("begin", begin), ("steps", steps)):
            if not whole(value):
                raise ConfigError(f"the schedule of {field}: {key} is {shown(value)}; give a whole number of steps, as 5000")
        begin, steps = int(begin), int(steps)
        if begin < 0 or steps < 1:
            raise ConfigError(
                f"the schedule of {field} begins at step {begin} and ends at step {begin + steps}; let it begin at 0 or later and "
                "take 1 step or more"
            )
        return cls(_checked(field, [[begin, given["start"]], [begin + steps, given["end"]]]), shape)

    def at(self, step: float) -> float:
        """The value at a step, 0 or more; between two whole steps too, as an average of weights stands for."""
        before = self.points[0]
        for after in self.points:
            if step < after[0]:
                break
            before = after
        else:
            return before[1]
        if step <= before[0]:
            return before[1]
        share = (step - before[0]) / (after[0] - before[0])
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        value = before[1] + (after[1] - before[1]) * share
        return round(value) if self.whole else value

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers, which count."""
        return all(isinstance(value, int) for _, value in self.points)

    def of(self, field: str, values: list[Any]) -> Schedule:
        """This with the values that a field made of those of its points: all of one kind.

        Raises ConfigError for counts beside fractions, which nothing lies between.
        """
        counts = [value for value in values if isinstance(value, int)]
        if counts and len(counts) < len(values):
            share = next(value for value in values if not isinstance(value, int))
            raise ConfigError(
                f"the schedule of {field} goes between {counts[0]}, a number of coefficients, and {share}, a fraction of them; "
                f"write both in one way{f', {counts[0]}.0 for a fraction' if counts[0] == 1 else ''}"
            )
        return Schedule(tuple((step, value) for (step, _), value in zip(self.points, values, strict=True)), self.shape)

    @property
    def last(self) -> int:
        """The step from which on nothing changes any more."""
        return self.points[-1][0]

    def written(self) -> dict[str, Any]:
        """As `parse` reads it."""
        if len(self.points) != 2:
            return {"points": [list(point) for point in self.points], "shape": self.shape}
        (begin, start), (end, value) = self.points
        return {"start": start, "end": value, "steps": end - begin, "shape": self.shape, **({"begin": begin} if begin else {})}


def _checked(field: str, points: Any) -> tuple[tuple[int, float], ...]:
    """Points in order. Raises ConfigError for those that go backwards, or are none."""
    if not isinstance(points, (list, tuple)) or len(points) < 2:
        raise ConfigError(f"the schedule of {field} has the points {shown(points)}; give two or more, as in {_WAYS}")
    found: list[tuple[int, float]] = []
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 2 or not whole(point[0]) or point[0] < 0:
            raise ConfigError(f"the schedule of {field} has the point {shown(point)}; a point is [step, value], with a step of 0 or more")
        if not number(point[1]):
            raise ConfigError(f"the schedule of {field} has the value {shown(point[1])}; give a number")
        if found and point[0] <= found[-1][0]:
            raise ConfigError(
                f"the schedule of {field} goes backwards, from step {found[-1][0]} to step {point[0]}; give its points by step"
            )
        found.append((int(point[0]), int(point[1]) if isinstance(point[1], Integral) else float(point[1])))
    return tuple(found)


def whole(value: Any) -> bool:
    """Whether this is a number of steps: of Python, or of NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) <= MOST


def number(value: Any) -> bool:
    """Whether this is a finite number that a float holds: of Python, or of NumPy."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return abs(int(value)) <= sys.float_info.max if isinstance(value, Integral) else math.isfinite(value)

"""Schedules: the value at every step, how they are written, and what is refused."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparse_plugin.config import SparsityConfig, load_yaml
from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import create
from sparse_plugin.registry.base import Constraint, Penalty
from sparse_plugin.registry.schedule import Schedule

ANNEALED = {"start": 1.0, "end": 0.25, "steps": 100, "shape": "cosine"}
POINTS = {"points": [[10, 1.0], [20, 0.5], [40, 0.25]]}


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"start": 1.0, "end": 0.5, "steps": 10}, {0: 1.0, 5: 0.75, 10: 0.5, 11: 0.5, 10**9: 0.5}),
        ({"start": 1.0, "end": 0.5, "steps": 10, "begin": 4}, {0: 1.0, 4: 1.0, 9: 0.75, 14: 0.5}),
        (ANNEALED, {0: 1.0, 25: 1 - 0.75 * (1 - math.cos(math.pi / 4)) / 2, 50: 0.625, 100: 0.25, 101: 0.25}),
        (POINTS, {0: 1.0, 10: 1.0, 15: 0.75, 20: 0.5, 30: 0.375, 40: 0.25, 99: 0.25}),
        ({"start": 100, "end": 10, "steps": 9}, {0: 100, 1: 90, 1.26: 87, 9: 10}),
    ],
)
def test_the_value_at_a_step(given, at):
    schedule = Schedule.parse("k", given)
    assert {step: schedule.at(step) for step in at} == pytest.approx(at)
    assert Schedule.parse("k", schedule.written()) == schedule
    assert all(isinstance(schedule.at(step), int) is schedule.whole for step in at)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.01, 1.0)), min_size=2, max_size=6, unique_by=lambda p: p[0]),
    st.sampled_from(["linear", "cosine"]),
    st.floats(0, 2e6),
)
def test_between_its_points(points, shape, step):
    points = sorted(points)
    schedule = Schedule.parse("k", {"points": points, "shape": shape})
    assert [schedule.at(s) for s, _ in points] == [value for _, value in points]
    around = [value for s, value in points if s <= step][-1:] + [value for s, value in points if s > step][:1]
    assert min(around) - 1e-12 <= schedule.at(step) <= max(around) + 1e-12


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"start": 1.0, "end": 0.25}, "has no steps"),
        ({"start": 1.0, "steps": 5}, "has no end"),
        ({"start": 1.0, "end": 0.25, "steps": 0}, "begins at step 0 and ends at step 0"),
        ({"start": 1.0, "end": 0.25, "steps": 5, "begin": -1}, "begins at step -1"),
        ({"start": 1.0, "end": 0.25, "steps": -5}, "begins at step 0 and ends at step -5"),
        ({"start": 1.0, "end": 0.25, "steps": 5.5}, "steps is 5.5; give a whole number"),
        ({"start": 1.0, "end": 0.25, "steps": True}, "steps is True"),
        ({"start": 1.0, "end": 0.25, "steps": 5, "shape": "cosin"}, "Did you mean 'cosine'"),
        ({"start": 1.0, "end": 0.25, "step": 5}, "Did you mean 'steps'"),
        ({"points": [[0, 1.0], [0, 0.5]]}, "goes backwards, from step 0 to step 0"),
        ({"points": [[5, 1.0], [4, 0.5]]}, "goes backwards, from step 5 to step 4"),
        ({"points": [[0, 1.0]]}, "give two or more"),
        ({"points": [[0, 1.0], [1]]}, r"has the point \[1\]"),
        ({"points": [[-1, 1.0], [1, 0.5]]}, r"has the point \[-1, 1.0\]"),
        ({"points": "all"}, "has the points 'all'"),
        ({"points": [[0, 1.0], [1, math.nan]]}, "has the value nan"),
        ({"points": [[0, 1.0], [1, 0.5]], "steps": 3}, "no key 'steps'"),
        ({"start": 1, "end": 0.25, "steps": 5}, "1, a number of coefficients, and 0.25, a fraction of them; write both in one way, 1.0"),
        ({"start": 1.5, "end": 0.25, "steps": 5}, "k is the float 1.5"),
        ({"start": 1.0, "end": 0.0, "steps": 5}, "k is the float 0.0"),
        ({"start": 8, "end": -1, "steps": 5}, "k is -1, a negative count"),
        ({"start": "all", "end": 0.25, "steps": 5}, "has the value 'all'"),
    ],
)
def test_what_is_no_schedule(wrong, said):
    with pytest.raises(ConfigError, match=said) as caught:
        create("l0_inf", {"k": wrong})
    assert str(caught.value).startswith("l0_inf: ") and str(caught.value).count("l0_inf") == 1


def test_a_weight_that_becomes_negative():
    with pytest.raises(ConfigError, match="weight"):
        create("l1", {"weight": {"start": 1, "end": -1.0, "steps": 5}})
    assert create("l1", {"weight": {"start": 0, "end": 10, "steps": 4}}).at_step(1).weight == 2.5


def test_the_regularizer_of_a_step():
    made = create("l0_inf", {"k": ANNEALED})
    assert (made.scheduled, made.settled) == (("k",), 100)
    assert [made.at_step(step).k for step in (0, 50, 100)] == [1.0, 0.625, 0.25]
    then = made.at_step(50)
    assert (then.scheduled, then.settled, then.name, then.whole) == ((), 0, "l0_inf", made)
    assert then.at_step(3) is then
    gamma = torch.randn(2, 8, 4, 4)
    assert torch.equal(made.at_step(100).project(gamma), create("l0_inf", {"k": 0.25}).project(gamma))
    assert torch.equal(made.at_step(0).project(gamma), gamma)


def test_as_it_was_written():
    made = create("l0_inf", {"k": ANNEALED})
    assert made.settings() == {"regularizer": "l0_inf", "k": ANNEALED}
    assert "k={'start': 1.0, 'end': 0.25, 'steps': 100, 'shape': 'cosine'}" in str(made)
    again = SparsityConfig.of(made)
    assert again.flat() == made.settings() and again.build() == made
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert twin == made and twin.at_step(50) == made.at_step(50)
    config = SparsityConfig.from_mapping(load_yaml("{regularizer: l0_inf, k: {start: 1.0, end: 0.25, steps: 5}}"))
    assert SparsityConfig.from_mapping(config.flat()).build().at_step(5).k == 0.25


def test_one_of_a_list():
    scales = create("l0", {"k": [0.5, ANNEALED, 0.1]})
    second, third = scales.at(2, 3), scales.at(3, 3)
    assert second.at_step(50).k == 0.625 and second.settled == 100
    assert third.k == 0.1 and third.scheduled == ()
    assert scales.settings()["k"] == [0.5, ANNEALED, 0.1]
    levels = create("ml_csc", {"k": [ANNEALED, 0.5], "levels": 2}).at_step(100)
    assert [each.k for each in levels.constraints] == [0.25, 0.5]


def test_anybodys_numbers():
    class Soft(Constraint):
        threshold: float = 0.1
        table: dict[str, float]

    made = Soft(threshold={"start": 0.0, "end": 0.5, "steps": 2}, table={"start": 1.0})
    assert made.at_step(1).threshold == 0.25 and made.table == {"start": 1.0} and made.scheduled == ("threshold",)

    class Group(Penalty):
        weight: float
        size: int = 2

    grows = Group(weight=1.0, size={"start": 2, "end": 8, "steps": 3})
    assert [grows.at_step(step).size for step in range(4)] == [2, 4, 6, 8]
    with pytest.raises(ConfigError, match="size"):
        Group(weight=1.0, size={"start": 2, "end": 8.5, "steps": 3})


def test_numbers_of_numpy():
    made = create("l0_inf", {"k": {"start": np.float32(1.0), "end": np.float64(0.25), "steps": np.int64(5), "begin": np.int32(2)}})
    assert json.loads(json.dumps(made.fields())) == {"k": {"start": 1.0, "end": 0.25, "steps": 5, "shape": "linear", "begin": 2}}
    assert create("l0_inf", {"k": {"points": [[np.int64(0), np.int64(8)], [np.int64(4), np.int64(2)]]}}).at_step(2).k == 5
    for wrong in (np.float32("nan"), np.bool_(True), 10**400, 1j):
        with pytest.raises(ConfigError, match="has the value"):
            create("l1", {"weight": {"start": 0.0, "end": wrong, "steps": 5}})

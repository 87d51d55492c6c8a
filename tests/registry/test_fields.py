"""The fields of somebody's own regularizer, of whatever type: what a file and a checkpoint hold makes them again, or is refused."""

import dataclasses
import enum
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pydantic
import pytest
import torch
from pydantic import AliasChoices, BaseModel, Field, model_validator
from typing_extensions import TypedDict

from sparse_plugin import Constraint, Penalty, SparsityConfig, register
from sparse_plugin.errors import ConfigError
from sparse_plugin.projections import project_needles
from sparse_plugin.registry import REGULARIZERS, check_fields
from sparse_plugin.registry.base import K, Ks

COMPLEX = tuple(map(int, pydantic.VERSION.split(".")[:2])) >= (2, 9)


class Kind(enum.Enum):
    HARD = "hard"
    SOFT = "soft"


class Inner(BaseModel):
    start: float = 1.0


@dataclasses.dataclass
class Plain:
    a: int = 1


class Typed(TypedDict):
    a: int


class Own(Constraint):
    def project(self, gamma):
        return gamma * 0.5


def of(annotation, default, **more):
    """A regularizer with one field x."""
    return type("Mine", (Own,), {"__annotations__": {"x": annotation}, "__module__": __name__, "x": default, **more})


@pytest.fixture
def named():
    def under(cls):
        REGULARIZERS.unregister("mine")
        return register("mine")(cls)

    yield under
    REGULARIZERS.unregister("mine")


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (tuple[int, int], (3, 5), [3, 5]),
        (list[tuple[int, float]], [(1, 2.0)], [[1, 2.0]]),
        (Kind, Kind.SOFT, "soft"),
        (set[str], {"b", "a"}, ["a", "b"]),
        (frozenset[int], frozenset((2, 1)), [1, 2]),
        (Path, Path("a/b"), "a/b"),
        pytest.param(complex, 1 + 2j, "1+2j", marks=pytest.mark.skipif(not COMPLEX, reason="this pydantic knows no complex numbers")),
        (bytes, b"ab", "ab"),
        (float, math.inf, math.inf),
        (dict, {"start": 1}, {"start": 1}),
        (Mapping, {"a": 1}, {"a": 1}),
        (dict[str, float] | None, {"start": 1.0}, {"start": 1.0}),
        (list[dict[str, int]], [{"end": 1}], [{"end": 1}]),
        (Inner, Inner(start=2.0), {"start": 2.0}),
        (Plain, Plain(2), {"a": 2}),
        (Typed, {"a": 3}, {"a": 3}),
        (Literal["a", 2], 2, 2),
    ],
)
def test_what_is_written_makes_the_same_again(named, annotation, value, written):
    cls = named(of(annotation, None))
    made = cls(x=value)
    assert made.x == value and made.fields() == {"x": written}
    settings = json.loads(json.dumps({"regularizer": "mine", **made.fields()}))
    again = SparsityConfig.from_data(settings, "a checkpoint").build()
    assert again.x == value and type(again.x) is type(value)
    assert SparsityConfig.from_mapping(settings).build().x == value  # as in a file of settings
    assert SparsityConfig.of(made).build() is made


@pytest.mark.parametrize(
    ("annotation", "wrong"), [(tuple[int, int], [3]), (tuple[int, int], [3.5, 1]), (Kind, "medium"), (float, "1.0"), (bool, 1), (int, True)]
)
def test_what_is_of_another_type_is_refused_as_before(annotation, wrong):
    with pytest.raises(ConfigError, match="field 'x'"):
        of(annotation, None)(x=wrong)


@pytest.mark.parametrize(
    "annotation", [float, int | float, float | None, list[float], Annotated[float, Field(ge=0)], Any, K, Ks, NewType("Share", float)]
)
def test_numbers_have_schedules(annotation):
    made = of(annotation, None)(x={"start": 0.25, "end": 0.75, "steps": 2} if annotation != list[float] else [{"start": 0.25, "end": 0.75, "steps": 2}])
    assert made.scheduled == ("x",) and made.at_step(1).x == ([0.5] if annotation == list[float] else 0.5)


@pytest.mark.parametrize("annotation", [bool, str, Kind, Path])
def test_what_is_no_number_has_none(annotation):
    with pytest.raises(ConfigError, match="field 'x' is {'end': 1"):
        of(annotation, None)(x={"start": 0, "end": 1, "steps": 2})


def test_a_schedule_that_a_field_does_not_take_is_told_as_one():
    with pytest.raises(ConfigError, match=r"field 'k' changes over training, and begins with 1.0: input should be a valid integer"):
        type("Counted", (Own,), {"__annotations__": {"k": int}, "__module__": __name__})(k="auto")


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(Callable, torch.relu), (Any, torch.relu), (bytes, b"\xff"), (Any, torch.zeros(2)), (float, Field(0.5, exclude=True))],
)
def test_what_no_checkpoint_can_hold_is_refused(annotation, default):
    with pytest.raises(ConfigError, match="which a checkpoint cannot hold"):
        SparsityConfig.of(of(annotation, default)()).build()


def test_settings_that_do_not_make_it_again_are_refused():
    class Doubled(Own):
        x: float = 1.0

        def __init__(self, x):
            super().__init__(x=2 * x)

    class Elsewise(Own):
        x: float = 1.0

        def __init__(self, model):
            super().__init__(x=model)

    with pytest.raises(ConfigError, match="make another one again"):
        SparsityConfig.of(Doubled(1.0)).build()
    with pytest.raises(ConfigError, match="do not make it again"):
        SparsityConfig.of(Elsewise(1.0)).build()
    with pytest.raises(ConfigError, match="input should be a valid integer"):  # a default that is none
        SparsityConfig.of(of(int, "abc")()).build()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"x": Field(0.1, alias="lambda")}, "has an alias for its field x"),
        ({"x": Field(0.1, validation_alias="lambda")}, "has an alias for its field x"),
        ({"x": Field(0.1, validation_alias=AliasChoices("x", "lambda"))}, "has an alias for its field x"),
        ({"x": 0.1, "listed": ("y",)}, "listed of Mine: there is no field 'y'"),
        ({"x": 0.1, "defaults": {"xx": 1}}, "defaults of Mine: there is no field 'xx'; there are x. Did you mean 'x'?"),
        ({"x": 0.1, "unscheduled": ("steps",)}, "unscheduled of Mine"),
        ({"x": 0.1, "encoder_defaults": {"k": 1}}, "encoder_defaults of Mine"),
    ],
)
def test_what_a_class_says_of_fields_is_checked_registered_or_not(more, said):
    mine = of(float, **{"default": more.pop("x"), **more})
    with pytest.raises(ConfigError, match=said):
        check_fields(mine)
    with pytest.raises(ConfigError, match=said):
        register("mine")(mine)
    with pytest.raises(ConfigError, match=said):
        SparsityConfig.of(mine()).build()


def test_what_is_derived_from_a_list_follows_the_level():
    class Derived(Own):
        listed = ("x",)
        x: float | list[float]
        _table: Any = None

        @model_validator(mode="after")
        def _make(self):
            self._table = self.x
            return self

    made = Derived(x=[0.1, {"start": 0.2, "end": 0.4, "steps": 2}])
    second = made.at(2, 2)
    assert (second.x, second._table, second.whole) == (0.2, 0.2, made)
    assert second.at_step(2)._table == 0.4 and made.at(1, 2)._table == 0.1


def test_a_decorator_without_a_name_is_refused():
    with pytest.raises(ConfigError, match=r'as in @register\("soft"\)'):

        @register
        class Nameless(Own):
            pass


def test_k_auto_of_a_penalty_is_refused():
    class Tail(Penalty):
        k: K

        def penalty(self, gamma):
            return (gamma - project_needles(gamma, self.k)).square().mean()

    with pytest.raises(ConfigError, match=r"Tail\(k=auto\) has k: auto, .* it is a penalty; give k"):
        SparsityConfig.of(Tail(k="auto")).build()
    SparsityConfig.of(Tail(k={"start": 1.0, "end": 0.5, "steps": 10})).build()


def test_ml_csc_takes_no_constraint_that_inserts_dictionaries_itself():
    with pytest.raises(ConfigError, match="constraint is 'ml_csc', which inserts dictionaries itself"):
        SparsityConfig.from_mapping({"regularizer": "ml_csc", "k": 0.5, "constraint": "ml_csc"}).build()


@pytest.mark.parametrize("annotation", [K, float, float | None, int | float, Any, Ks, float | list[float]])
@pytest.mark.parametrize("listed", [False, True])
def test_k_auto_keeps_one_coefficient_whatever_the_type_of_k(annotation, listed):
    class Kept(Own):
        k: annotation = None
        listed = ("k",)

        def project(self, gamma):
            return project_needles(gamma, self._one("k"))

    if listed and annotation not in (Ks, Any, float | list[float]):
        return
    made = Kept(k=[0.5, "auto"]).at(2, 2) if listed else Kept(k="auto")
    of_few = made.at_step(made.settled, 1e-6)
    assert (of_few.project(torch.randn(2, 8, 3, 3)) != 0).sum() == 2 * 3 * 3
    assert made.at_step(made.settled, 0.5).k == 0.25

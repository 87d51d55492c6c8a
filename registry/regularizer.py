"""What all regularizers are: frozen, validated settings whose fields are the config keys, any number of which may be a schedule."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr, ValidationError

from sparse_plugin.errors import ConfigError, one_of, shown
from sparse_plugin.projections.sizes import AtLeastOne, check_k
from sparse_plugin.registry.auto import Auto
from sparse_plugin.registry.changing import apart
from sparse_plugin.registry.schedule import Schedule

Self = TypeVar("Self", bound="Regularizer")
T = TypeVar("T")


def _each(check: Callable[[object], T]) -> Callable[[object], T | list[T]]:
    """check of a value, or of every entry of a list that is not empty."""

    def checked(value: object) -> T | list[T]:
        if isinstance(value, (list, tuple)) and value:
            return [check(entry) for entry in value]
        return check(value)

    return checked


# A number of coefficients: an integer counts, a float in (0, 1] is a fraction (1 is one coefficient, 1.0 is all), of which
# never more is kept.
K = Annotated[int | float, PlainValidator(check_k)]
# The same for every representation of a network, or a list of one for each, from Γ_1 on.
Ks = Annotated[int | float | list[int | float], PlainValidator(_each(check_k))]

# A penalty's factor.
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# What stands beside a regularizer's fields: the keys of a config, and the keywords of `attach` and `enable`.
RESERVED = frozenset(
    (
        *("regularizer", "settings", "enabled", "host", "generator", "sites", "adapter", "delivery", "accumulation"),
        *("measure_every", "run_dir", "log", "imports", "example_input", "config", "role", "discriminator", "beside"),
    )
)

class Appearance(NamedTuple):
    """How a regularizer is shown in figures. title: its name, by default the registered one. colour: "#CC79A7", by default
    the next of a palette. order: its place among the others.
    """

    title: str = ""
    colour: str = ""
    order: int = 100


class Regularizer(BaseModel):
    """Settings, validated on construction and frozen. Raises ConfigError for anything that is not valid.

    Any number among them may be a schedule (see `Schedule`), one of a list too, and k may be `auto` (see `Auto`); the field then
    has its value at step 0, and `at_step` gives the regularizer of any step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # The fields that may list one value for each representation of a network.
    listed: ClassVar[tuple[str, ...]] = ()

    # The fields that what is inserted depends on, which exists before training: no schedule may change them.
    unscheduled: ClassVar[tuple[str, ...]] = ()

    # What it is set to where it is named and nobody gives settings: for a generator's Γ, and for an encoder's scales.
    defaults: ClassVar[Mapping[str, Any]] = {}
    encoder_defaults: ClassVar[Mapping[str, Any]] = {}

    appearance: ClassVar[Appearance] = Appearance()

    _name: str = PrivateAttr(default="")
    _by_default: bool = PrivateAttr(default=False)
    _whole: Any = PrivateAttr(default=None)
    # By field and, in a list, place.
    _schedules: dict[tuple[str, int | None], Schedule | Auto] = PrivateAttr(default_factory=dict)

    def __init__(self, /, **settings: Any) -> None:
        settings, schedules = apart(type(self).model_fields, type(self).defaults, settings)
        for name, _ in schedules:
            if name in type(self).unscheduled:
                raise ConfigError(f"{name} is a schedule, and what is inserted cannot change over training; give one value of {name}")
        try:
            super().__init__(**settings)
        except ValidationError as error:
            if not self._read(settings):
                raise ConfigError(_sentence(type(self), error, {name for name, _ in schedules})) from None
        self._schedules = schedules
        for (name, place), schedule in schedules.items():
            if isinstance(schedule, Auto):
                continue
            # A value that is not valid is told now, not when its step comes.
            found = [getattr(self.at_step(step), name) for step, _ in schedule.points]
            schedules[name, place] = schedule.of(name, found if place is None else [each[place] for each in found])

    def _read(self, settings: Mapping[str, Any]) -> bool:
        """Take settings as files and checkpoints write them, a list for a tuple, say. Returns whether they are valid."""
        try:
            self.__pydantic_validator__.validate_json(json.dumps(settings), self_instance=self)
        except (ValidationError, TypeError, ValueError, RecursionError):
            return False
        return True

    @classmethod
    def named(cls: type[Self], name: str, settings: Mapping[str, Any]) -> Self:
        """An instance that knows under which name it was asked for."""
        try:
            made = cls(**settings)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        made._name = name
        return made

    @property
    def name(self) -> str:
        """The registered name, or the class's own where it was constructed directly."""
        return self._name or type(self).__name__

    def at(self: Self, level: int, count: int) -> Self:
        """What regularizes Γ_level of a network with count representations: lists are read at this level.

        Raises ConfigError for a list of another length.
        """
        lists = {name: value for name in self.listed if isinstance(value := getattr(self, name), list)}
        for name, values in lists.items():
            if len(values) != count:
                raise ConfigError(
                    f"{self.name}: {name} lists {len(values)} values, and this network has {count} "
                    f"representation{'s' * (count != 1)}; give one for each, from Γ_1 on, or one value for all"
                )
        if not lists:
            return self
        here = self._with({name: values[level - 1] for name, values in lists.items()})
        here._schedules = {
            (name, None if name in lists else place): schedule
            for (name, place), schedule in self._schedules.items()
            if name not in lists or place == level - 1
        }
        return here

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The fields that change over training."""
        return tuple(dict.fromkeys(name for name, _ in self._schedules))

    @property
    def settled(self) -> int:
        """The step from which on nothing changes any more, 0 where nothing does."""
        return max((schedule.last for schedule in self._schedules.values()), default=0)

    @property
    def turns(self) -> tuple[int, ...]:
        """The steps between which every schedule is between its values there."""
        points = [p for each in self._schedules.values() if not isinstance(each, Auto) for p in each.points]
        return tuple(sorted({step for step, _ in points} | {self.settled}))

    @property
    def automatic(self) -> Auto | None:
        """The `auto` among the fields, None where there is none."""
        return next((each for each in self._schedules.values() if isinstance(each, Auto)), None)

    def at_step(self: Self, step: float, density: float | None = None) -> Self:
        """This with the values that its schedules have after so many steps of the generator's optimizer.

        density: the natural density of Γ, in [0, 1], where it has been measured for `auto`.
        """
        if not self._schedules:
            return self
        fields: dict[str, Any] = {}
        for (name, place), schedule in self._schedules.items():
            follows = schedule.known(density) if isinstance(schedule, Auto) and density is not None else schedule
            value = AtLeastOne(follows.at(step)) if isinstance(schedule, Auto) else follows.at(step)
            listed = fields.get(name, getattr(self, name))
            fields[name] = value if place is None else [*listed[:place], value, *listed[place + 1 :]]
        return self._with(fields)

    def _with(self: Self, fields: Mapping[str, Any]) -> Self:
        """This with other values of some fields, made anew: what a class derives from its fields follows them."""
        made = type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | dict(fields))
        made._name, made._whole = self._name, self.whole
        for name, value in fields.items():
            measured = any(isinstance(each, AtLeastOne) for each in (value if isinstance(value, list) else [value]))
            if measured and value == getattr(made, name):  # a field of plain floats has made one of it
                vars(made)[name] = value
        return made

    def of_encoder(self: Self) -> Self:
        """What regularizes an encoder's scales: this, or, where nobody gave settings, the one that encoders have by default.

        Raises ConfigError where there is no default for them.
        """
        return type(self).named(self.name, self.encoder_defaults) if self._by_default else self

    def of_dense(self: Self) -> Self:
        """What regularizes a Γ that is dense by nature: this, or, where nobody gave settings, with k: auto."""
        return type(self).named(self.name, {**self.defaults, "k": "auto"}) if self._by_default and "k" in self.defaults else self

    @property
    def whole(self: Self) -> Self:
        """The regularizer of the network, which this one is `at` a level of."""
        made: Self = self._whole or self
        return made

    def _one(self, name: str) -> Any:
        """The value of a field that may be a list. Raises ConfigError where it is one."""
        value = getattr(self, name)
        if isinstance(value, list):
            raise ConfigError(
                f"{self} lists one {name} for each representation; attach it to a network, or take the one for Γ_1 by at(1, {len(value)})"
            )
        return value

    def settings(self) -> dict[str, Any]:
        """Name and fields, as they stand in a config file and in a checkpoint."""
        return {"regularizer": self.name, **self.fields()}

    def fields(self) -> dict[str, Any]:
        """The fields as they stand in a config file, a schedule as it was written. Raises ConfigError for what none can hold."""
        written: dict[str, Any] = {}
        for name in type(self).model_fields:
            try:
                written[name] = self.model_dump(mode="json", include={name}, warnings=False)[name]
            except Exception as error:  # of the serializer, of the class of the value, or of a field that is kept out
                raise ConfigError(
                    f"{self.name}: {name} is {shown(getattr(self, name))}, which a checkpoint cannot hold beside the weights; let the "
                    "field be a number, a text or a list of such, and look up in the class what it stands for"
                ) from error
            if isinstance(getattr(self, name), (set, frozenset)):  # in no order, which differs between processes
                written[name] = sorted(written[name], key=repr)
        for (name, place), schedule in self._schedules.items():
            if place is None:
                written[name] = schedule.written()
            else:
                written[name][place] = schedule.written()
        return written

    def __str__(self) -> str:
        fields = ", ".join(f"{key}={value}" for key, value in self.fields().items())
        return f"{self.name}({fields})"


def _sentence(cls: type[Regularizer], error: ValidationError, changing: set[str]) -> str:
    """The first thing that is wrong, in a sentence. changing: the fields that a schedule was given for."""
    fields = list(cls.model_fields)
    # Where a field may be of several types, each type complains; the one that was meant goes deepest.
    first = max(error.errors(include_url=False), key=lambda e: len(e["loc"]))
    field = str(first["loc"][0]) if first["loc"] else ""
    extra = [str(e["loc"][0]) for e in error.errors(include_url=False) if e["type"] == "extra_forbidden"]
    if extra:
        return one_of("field", extra[0], fields)
    if first["type"] == "missing":
        about = cls.model_fields[field].description
        return f"field {field!r} is missing: give {about or 'it a value'}"
    if first["type"] == "value_error":
        return f"field {field!r}: {first['ctx']['error']}" if field else str(first["ctx"]["error"])
    given = "changes over training, and begins with" if field in changing else "is"
    return f"field {field!r} {given} {shown(first['input'])}: {first['msg'][0].lower()}{first['msg'][1:]}"

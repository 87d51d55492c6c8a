"""Settings of which some change over training: told apart from those that do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from numbers import Number
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sparse_plugin.registry.auto import Auto
from sparse_plugin.registry.schedule import Schedule


def apart(
    fields: Mapping[str, FieldInfo], defaults: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[tuple[str, int | None], Schedule | Auto]]:
    """Settings with the value at step 0 in place of each schedule, and the schedules: of fields that take numbers, and no mappings."""
    plain: dict[str, Any] = dict(settings)
    schedules: dict[tuple[str, int | None], Schedule | Auto] = {}
    default = defaults.get("k")
    for name, value in settings.items():
        if name not in fields or not _of_numbers(fields[name].annotation):
            continue
        if _changes(name, value):
            schedules[name, None] = schedule = _parse(name, value, default)
            plain[name] = schedule.at(0)
        elif isinstance(value, (list, tuple)) and any(_changes(name, each) for each in value):
            plain[name] = list(value)
            for place, each in enumerate(value):
                if _changes(name, each):
                    schedules[name, place] = schedule = _parse(name, each, default)
                    plain[name][place] = schedule.at(0)
    return plain, schedules


def _of_numbers(annotation: Any) -> bool:
    """Whether a field takes numbers, by themselves or listed, and no mapping that would mean something else."""
    kinds = list(_kinds(annotation))
    mappings = any(issubclass(kind, (Mapping, BaseModel)) or is_dataclass(kind) for kind in kinds)
    numbers = (kind is object or (issubclass(kind, Number) and not issubclass(kind, (bool, Enum))) for kind in kinds)
    return not mappings and any(numbers)


def _kinds(annotation: Any) -> Iterator[type]:
    """The types that a value of this annotation may have, or an entry of it where it is a list; object for any."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from map(type, get_args(annotation))
    elif origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield origin
    elif origin is not None:  # a union, a list
        for inner in get_args(annotation):
            yield from _kinds(inner)
    elif isinstance(annotation, type) and annotation is not Any:  # which is a class from Python 3.11 on
        yield annotation
    elif annotation is not ...:
        named = getattr(annotation, "__value__", getattr(annotation, "__supertype__", None))  # of `type X = ...`, and a NewType
        yield from (object,) if named is None else _kinds(named)


def _changes(name: str, value: Any) -> bool:
    """Whether a value is no number but says how one changes."""
    return isinstance(value, Mapping) or (name == "k" and value == "auto")


def _parse(name: str, value: Any, default: Any) -> Schedule | Auto:
    if isinstance(value, str) or (name == "k" and "auto" in value):
        return Auto.parse(name, value, default)
    return Schedule.parse(name, value)

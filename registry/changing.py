"""Settings of which some change over training: told apart from those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from sparse_plugin.registry.auto import Auto
from sparse_plugin.registry.schedule import Schedule


def apart(
    fields: Mapping[str, FieldInfo], defaults: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[tuple[str, int | None], Schedule | Auto]]:
    """Settings with the value at step 0 in place of each schedule, and the schedules. A field that takes mappings has none."""
    plain: dict[str, Any] = dict(settings)
    schedules: dict[tuple[str, int | None], Schedule | Auto] = {}
    default = defaults.get("k")
    for name, value in settings.items():
        if name not in fields or "apping[" in str(fields[name].annotation).replace("dict[", "mapping["):
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


def _changes(name: str, value: Any) -> bool:
    """Whether a value is no number but says how one changes."""
    return isinstance(value, Mapping) or (name == "k" and value == "auto")


def _parse(name: str, value: Any, default: Any) -> Schedule | Auto:
    if isinstance(value, str) or (name == "k" and "auto" in value):
        return Auto.parse(name, value, default)
    return Schedule.parse(name, value)

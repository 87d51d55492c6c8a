"""Regularizers: what happens to a representation Γ. One file each; `base` has the two kinds.

Settings are read and listed without torch, so what computes is imported by the functions that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sparse_plugin.errors import ConfigError, one_of, shown
from sparse_plugin.registry.base import AtomPenalty as AtomPenalty
from sparse_plugin.registry.base import Constraint as Constraint
from sparse_plugin.registry.base import Penalty as Penalty
from sparse_plugin.registry.base import Regularizer as Regularizer
from sparse_plugin.registry.base import check_fields
from sparse_plugin.registry.composition import Composition
from sparse_plugin.support.plugins import Plugins, caller_origin

R = TypeVar("R", bound=type[Regularizer])

REGULARIZERS: Plugins[Any] = Plugins(
    "regularizer",
    ("named", "model_fields"),
    "a class derived from Constraint or Penalty",
    classes=True,
    accept=check_fields,
    reserved=("vanilla",),  # of methods that are compared
)


def register(name: str) -> Callable[[R], R]:
    """Class decorator that registers a regularizer under name in this process.

    >>> @register("soft")
    ... class Soft(Constraint):
    ...     threshold: float = 0.1
    ...     def project(self, gamma):
    ...         return gamma.sign() * (gamma.abs() - self.threshold).clamp(min=0)

    Raises ConfigError where the class is not a Constraint or Penalty, has a field that is called like a key of a config, or
    another owner has the name.
    """
    if not isinstance(name, str):
        raise ConfigError(f'a regularizer is registered as {shown(name)}; give it a name, as in @register("soft")')

    def add(cls: R) -> R:
        if not (isinstance(cls, type) and issubclass(cls, (Constraint, Penalty))):
            raise ConfigError(
                f"{shown(cls)} cannot be registered as {shown(name)}: derive it from Constraint or Penalty"
            )
        REGULARIZERS.register(name, cls, caller_origin(cls))
        return cls

    return add


def available() -> list[str]:
    """The names of all regularizers, sorted."""
    return list(REGULARIZERS.all())


def get(name: str) -> type[Regularizer]:
    """The class registered under name. Raises ConfigError with the nearest match where there is none."""
    cls: type[Regularizer] = REGULARIZERS.get(name)
    return cls


def registered(name: str) -> str:
    """The name under which the class called name is registered, where that is no registered name itself: a regularizer that was
    constructed directly is called like its class. name where there is none, or several.
    """
    if name in REGULARIZERS.all():
        return name
    found = [each for each, cls in REGULARIZERS.usable() if cls.__name__ == name]
    return found[0] if len(found) == 1 else name


def owners_of_fields() -> dict[str, list[str]]:
    """The fields of all regularizers that load, each with the names of those that have it."""
    owners: dict[str, list[str]] = {}
    for name, cls in REGULARIZERS.usable():
        for field in cls.model_fields:
            owners.setdefault(field, []).append(name)
    return owners


def create(name: str | Sequence[str], settings: Mapping[str, Any]) -> Regularizer:
    """The regularizer called name with these settings; of several names what `compose` makes.

    Raises ConfigError for an unknown name, an unknown or missing field, or a value out of range.
    """
    return get(name).named(name, settings) if isinstance(name, str) else compose(name, settings)


def by_default(name: str | Sequence[str]) -> Regularizer:
    """The regularizer called name as it is where nobody gives it settings: with the `defaults` that its class declares.

    Raises ConfigError for an unknown name, and for a missing field where there are none.
    """
    if not isinstance(name, str):
        return compose(name, {})
    cls = get(name)
    made = cls.named(name, cls.defaults)
    made._by_default = bool(cls.defaults)
    return made


def compose(parts: Sequence[str | Regularizer], sections: Mapping[str, Any]) -> Regularizer:
    """Regularizers that act in this order: a penalty before a constraint sees Γ dense, one after it sees Γ projected.

    parts: registered names, whose settings stand in sections by name, and regularizers, which have their own. A section may
    have `sites` beside the fields: the part stands there, and not where the others do. Of one part that has none: that one.

    Raises ConfigError for what `create` does, a part that is listed twice, and settings in no section.
    """
    names = [part if isinstance(part, str) else part.name for part in parts]
    if not names:
        raise ConfigError("the list of regularizers is empty; name one, such as l0_inf")
    fields_of = {name: (get(part) if isinstance(part, str) else type(part)).model_fields for part, name in zip(parts, names, strict=True)}
    for key in sections:
        if key not in names:
            owner = next((name for name in names if key in fields_of[name]), None)
            raise ConfigError(
                f"{key} is given beside the regularizers {', '.join(names)}, of which each has its settings in a section of its own; "
                + (f"write {owner}: {{{key}: {shown(sections[key])}}}" if owner else one_of("section", str(key), names))
            )
    sites: dict[str, list[str]] = {}
    made = []
    for part, name in zip(parts, names, strict=True):
        section = sections.get(name, {})
        if not isinstance(section, Mapping) or (section and not isinstance(part, str)):
            raise ConfigError(
                f"the section {name} is {shown(section)}; "
                + (f"write {name}: {{FIELD: VALUE}}" if isinstance(part, str) else f"{part} has its settings already, so leave it out")
            )
        fields = {key: value for key, value in section.items() if key != "sites"}
        if "sites" in section:
            sites[name] = _sites(name, section["sites"])
        if isinstance(part, str):
            part = create(part, fields) if fields else by_default(part)
        made.append(part)
    return Composition.of(made, sites) if len(made) > 1 or sites else made[0]


def _sites(name: str, given: Any) -> list[str]:
    """The sites of one part, as text. Raises ConfigError for what are none."""
    listed = given if isinstance(given, (list, tuple)) else [given]
    paths = [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in listed]
    if not paths or not all(isinstance(each, str) and each for each in paths):
        raise ConfigError(f"{name}: sites is {shown(given)}; give the paths of modules, as in sites: [c5]")
    return paths

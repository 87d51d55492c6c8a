"""Regularizers: what happens to a representation Γ. One file each; `base` has the two kinds.

Settings are read and listed without torch, so what computes is imported by the functions that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sparse_plugin.errors import ConfigError, shown
from sparse_plugin.registry.base import Constraint as Constraint
from sparse_plugin.registry.base import Penalty as Penalty
from sparse_plugin.registry.base import Regularizer as Regularizer
from sparse_plugin.registry.base import check_fields
from sparse_plugin.support.plugins import Plugins, caller_origin

R = TypeVar("R", bound=type[Regularizer])

REGULARIZERS: Plugins[Any] = Plugins(
    "regularizer",
    ("named", "model_fields"),
    "a class derived from Constraint or Penalty",
    classes=True,
    accept=check_fields,
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


def owners_of_fields() -> dict[str, list[str]]:
    """The fields of all regularizers that load, each with the names of those that have it."""
    owners: dict[str, list[str]] = {}
    for name, cls in REGULARIZERS.usable():
        for field in cls.model_fields:
            owners.setdefault(field, []).append(name)
    return owners


def create(name: str, settings: Mapping[str, Any]) -> Regularizer:
    """The regularizer called name with these settings.

    Raises ConfigError for an unknown name, an unknown or missing field, or a value out of range.
    """
    return get(name).named(name, settings)


def by_default(name: str) -> Regularizer:
    """The regularizer called name as it is where nobody gives it settings: with the `defaults` that its class declares.

    Raises ConfigError for an unknown name, and for a missing field where there are none.
    """
    cls = get(name)
    made = cls.named(name, cls.defaults)
    made._by_default = bool(cls.defaults)
    return made

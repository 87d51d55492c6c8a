"""How methods are shown in figures: names, order and colours, as their regularizers declare them."""

from __future__ import annotations

from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import REGULARIZERS
from sparse_plugin.registry.base import Appearance
from sparse_plugin.runs.methods import VANILLA

_VANILLA = Appearance(VANILLA, "#6b7280", -1)


def of(method: str) -> Appearance:
    """What the regularizer of a method declares; nothing of one that is not installed here, or does not load."""
    if method == VANILLA:
        return _VANILLA
    try:
        found: Appearance = REGULARIZERS.get(method).appearance
    except ConfigError:
        return Appearance()
    return found


def rank(label: str) -> tuple[int, str]:
    """By which labels of methods are sorted: vanilla first, then as their regularizers say, then by name."""
    return of(label.partition("-")[0]).order, label


def title(label: str) -> str:
    """A method with its settings, for people: "l0_inf-k=0.25" as "L0,∞" over "k 0.25"."""
    name, _, settings = label.partition("-")
    shown = of(name).title or name
    return f"{shown}\n{settings.replace('=', ' ').replace('weight', 'λ')}" if settings else shown

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
    if "&" in method or "@" in method:
        parts = [(of(name.partition("@")[0]), name) for name in method.split("&")]
        named = [(found.title or name.partition("@")[0]) + _where(name) for found, name in parts]
        return Appearance(" and ".join(named), "", 50 + parts[0][0].order)
    try:
        found: Appearance = REGULARIZERS.get(method).appearance
    except ConfigError:
        return Appearance()
    return found


def _where(name: str) -> str:
    """The network and the site behind the name of a method, for people."""
    places = name.split("@")[1:]
    return "".join(" on D" if place == "discriminator" else f" at {place}" for place in places)


def rank(label: str) -> tuple[int, str]:
    """By which labels of methods are sorted: vanilla first, then as their regularizers say, then by name."""
    return of(method_of(label)).order, label


def method_of(label: str) -> str:
    """The method of a label, without its settings: "l0_inf" of "l0_inf-k=0.25"."""
    return "&".join(part.partition("-")[0] for part in label.split("&"))


def title(label: str) -> str:
    """A method with its settings, for people: "l0_inf-k=0.25" as "L0,∞" over "k 0.25"."""
    name = method_of(label)
    settings = " and ".join(filter(None, (part.partition("-")[2] for part in label.split("&"))))
    shown = of(name).title or name
    return f"{shown}\n{settings.replace('=', ' ').replace('weight', 'λ')}" if settings else shown

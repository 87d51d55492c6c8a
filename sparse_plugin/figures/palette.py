"""A colour a method: what its regularizer declares, else the next of a palette."""

from __future__ import annotations

from collections.abc import Iterable

from sparse_plugin.errors import ConfigError
from sparse_plugin.runs.appearance import method_of, of

# Distinct to all kinds of colour vision (Okabe and Ito), as those of the built-in regularizers are.
FURTHER = ("#CC79A7", "#F0E442", "#000000")


def colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour a label: the method's, lighter for every further label of the same method.

    Raises ConfigError for a regularizer whose colour is none.
    """
    from matplotlib.colors import is_color_like, to_hex, to_rgb

    found: dict[str, str] = {}
    bases: dict[str, str] = {}
    counts: dict[str, int] = {}
    further = iter(FURTHER * 20)
    for label in labels:
        name = method_of(label)
        if name not in bases:
            bases[name] = of(name).colour or next(further)
        if not is_color_like(bases[name]):
            raise ConfigError(f"the regularizer {name!r} declares the colour {bases[name]!r}; give one such as #CC79A7")
        lighter = min(0.3 * counts.get(name, 0), 0.75)
        counts[name] = counts.get(name, 0) + 1
        red, green, blue = (part + (1 - part) * lighter for part in to_rgb(bases[name]))
        found[label] = to_hex((red, green, blue))
    return found

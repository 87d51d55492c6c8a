"""k: auto. The natural density of Γ is measured while it is dense, and k is annealed to a share of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparse_plugin.errors import ConfigError, one_of, shown
from sparse_plugin.registry.schedule import SHAPES, Schedule, number, whole

# From this density on Γ is dense by nature, as behind LeakyReLU or a modulation: a share of it says nothing.
DENSE = 0.95
# Of a Γ that is zero everywhere: it is above 0, as a k has to be, and of any Γ it keeps one coefficient.
_LEAST = 1e-9


@dataclass(frozen=True)
class Auto:
    """k = 1.0 until the natural density d of Γ is known, measured over the first `measure` steps of the generator's optimizer;
    then from 1.0 to share · d within `steps` steps; to `default` where d shows that Γ is dense by nature. Never less than one
    coefficient is kept.

    share: in (0, 1]; one half is about where the one-seed sweep of docs/results.md had its lowest distance.
    default: the k of a class that declares one.
    """

    share: float = 0.5
    measure: int = 500
    steps: int = 2000
    shape: str = "cosine"
    default: float = 0.25

    @classmethod
    def parse(cls, field: str, given: str | Mapping[str, Any], default: Any) -> Auto:
        """`auto`, or a mapping {auto: 0.5, measure: 500, steps: 2000, shape: cosine} with the share under `auto`.

        Raises ConfigError, naming field, for anything else.
        """
        made: dict[str, Any] = {"default": default} if isinstance(default, float) else {}
        if isinstance(given, str):
            return cls(**made)
        keys = ("auto", "measure", "steps", "shape")
        for key in given:
            if key not in keys:
                raise ConfigError(f"{field}: {one_of('key', str(key), keys)} Write auto, or {{auto: 0.5, measure: 500, steps: 2000}}")
        share = given["auto"]
        if not number(share) or not 0 < share <= 1:
            raise ConfigError(f"{field}: auto is {shown(share)}; give the share of the natural density to keep, in (0, 1]")
        for key in ("measure", "steps"):
            value = given.get(key, 1)
            if not whole(value) or value < 1:
                raise ConfigError(f"{field}: {key} is {shown(value)}; give a whole number of steps, 1 or more")
        if given.get("shape", "cosine") not in SHAPES:
            raise ConfigError(f"{field}: {one_of('shape', str(given['shape']), SHAPES)}")
        made |= {key: int(given[key]) for key in ("measure", "steps") if key in given}
        made |= {key: given[key] for key in ("shape",) if key in given}
        return cls(share=float(share), **made)

    def known(self, density: float) -> Schedule:
        """The schedule that follows from the natural density of Γ, in [0, 1]."""
        end = self.default if self.dense(density) else max(self.share * density, _LEAST)
        return Schedule(((self.measure, 1.0), (self.last, end)), self.shape)

    def dense(self, density: float) -> bool:
        """Whether Γ of this density is dense by nature."""
        return density >= DENSE

    def at(self, step: float) -> float:
        """The value while the density is not known, at any step: all of Γ is kept."""
        del step
        return 1.0

    @property
    def last(self) -> int:
        """The step from which on nothing changes any more."""
        return self.measure + self.steps

    def written(self) -> str | dict[str, Any]:
        """As `parse` reads it."""
        plain = {"auto": self.share, "measure": self.measure, "steps": self.steps, "shape": self.shape}
        return "auto" if self == Auto(default=self.default) else plain

"""Several regularizers of one generator, in an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import PrivateAttr

from sparse_plugin.errors import ConfigError, shown
from sparse_plugin.registry.auto import Auto
from sparse_plugin.registry.base import RESERVED, Constraint, Penalty, Regularizer


class Composition(Regularizer):
    """Regularizers that act one after another, each on what the one before it leaves of Γ; made by `compose`.

    Its settings have the names in order under `regularizer`, and a section with the fields of each.
    """

    _parts: tuple[Regularizer, ...] = PrivateAttr(default=())
    # By name: the sites of those that do not stand where the others do.
    _sites: dict[str, list[str]] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, parts: Sequence[Regularizer], sites: Mapping[str, list[str]] | None = None) -> Composition:
        """Of parts with their names. Raises ConfigError for two of one name, and for one that is called like a config's key."""
        for place, part in enumerate(parts):
            before = next((o for o in parts[:place] if o.name == part.name or type(o) is type(part)), None)
            if before is not None:
                raise ConfigError(f"{before} and {part} are one regularizer twice; of several, list each once")
            if part.name in RESERVED:
                raise ConfigError(
                    f"{part.name} is listed beside {', '.join(p.name for p in parts if p is not part)}, and its section would be "
                    "called like a key of the config; register it under another name"
                )
        made = cls()
        made._parts, made._sites = tuple(parts), dict(sites or {})
        made._name = "+".join(part.name for part in parts)
        return made

    def replaced(self, parts: Sequence[Regularizer]) -> Composition:
        """The same at the same sites, of other parts."""
        return type(self).of(parts, self._sites)

    def at(self, level: int, count: int) -> Composition:
        """Of every part what regularizes Γ_level of a network with count representations."""
        return self.replaced([part.at(level, count) for part in self._parts])

    def at_step(self, step: float, density: float | None = None) -> Composition:
        """Of every part what it is after so many steps of the generator's optimizer."""
        return self.replaced([part.at_step(step, density) for part in self._parts])

    def of_encoder(self) -> Composition:
        """Of every part what regularizes an encoder's scales."""
        return self.replaced([part.of_encoder() for part in self._parts])

    def of_dense(self) -> Composition:
        """Of every part what regularizes a Γ that is dense by nature."""
        return self.replaced([part.of_dense() for part in self._parts])

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The fields that change over training, of any part."""
        return tuple(dict.fromkeys(field for part in self._parts for field in part.scheduled))

    @property
    def settled(self) -> int:
        """The step from which on nothing changes any more."""
        return max(part.settled for part in self._parts)

    @property
    def turns(self) -> tuple[int, ...]:
        """The steps between which every schedule is between its values there."""
        return tuple(sorted({step for part in self._parts for step in part.turns}))

    @property
    def automatic(self) -> Auto | None:
        """The `auto` among the fields of the parts that takes longest to measure, None where there is none."""
        found = [auto for part in self._parts if (auto := part.automatic) is not None]
        return max(found, key=lambda auto: auto.measure, default=None)

    def settings(self) -> dict[str, Any]:
        """The names in order, and a section of each."""
        return {"regularizer": [part.name for part in self._parts], **self.fields()}

    def fields(self) -> dict[str, Any]:
        """The section of each part, by name."""
        return {part.name: {**part.fields(), **self._own(part)} for part in self._parts}

    def _own(self, part: Regularizer) -> dict[str, Any]:
        return {"sites": self._sites[part.name]} if part.name in self._sites else {}

    def __str__(self) -> str:
        return " + ".join(sentence({"regularizer": part.name, **part.fields(), **self._own(part)}) for part in self._parts)


def parts_of(regularizer: Regularizer) -> tuple[Regularizer, ...]:
    """The regularizers that it is composed of, in order; itself where it is one."""
    return regularizer._parts if isinstance(regularizer, Composition) else (regularizer,)


def sites_of(regularizer: Regularizer, part: Regularizer) -> list[str]:
    """The sites of a part that has some of its own; empty where it stands where the others do."""
    return regularizer._sites.get(part.name, []) if isinstance(regularizer, Composition) else []


def penalizes(regularizer: Regularizer) -> bool:
    """Whether it, or a part of it, is a term of the generator's loss."""
    return any(isinstance(part, Penalty) for part in parts_of(regularizer))


def inserts(regularizer: Regularizer) -> bool:
    """Whether it, or a part of it, adds parameters, which must exist before the first forward."""
    return any(isinstance(part, Constraint) and part.dictionaries(1, 2) is not None for part in parts_of(regularizer))


def sentence(settings: Mapping[str, Any]) -> str:
    """Settings as `l0_inf(k=16)`, or `l1(weight=0.1) + l0_inf(k=16)`."""
    name = settings.get("regularizer", "?")
    if isinstance(name, list):
        sections = ((each, settings.get(str(each))) for each in name)
        return " + ".join(sentence({"regularizer": each, **(own if isinstance(own, Mapping) else {})}) for each, own in sections)
    return f"{name}({', '.join(f'{key}={_plain(value)}' for key, value in settings.items() if key != 'regularizer')})"


def _plain(value: Any) -> str:
    return shown(value)[1:-1] if isinstance(value, str) else shown(value)

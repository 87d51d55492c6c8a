"""Which settings of a config have no meaning for its regularizer: they are refused, not passed over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from sparse_plugin.errors import ConfigError
from sparse_plugin.registry.base import AtomPenalty, Penalty, Regularizer, check_class
from sparse_plugin.registry.composition import inserts, parts_of, penalizes


class Settings(Protocol):
    """What is looked at of a config."""

    @property
    def sites(self) -> Sequence[str]: ...

    @property
    def adapter(self) -> str | None: ...

    @property
    def role(self) -> str: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def apart(self) -> bool: ...


def check_meaning(made: Any, config: Settings) -> None:
    """Raise ConfigError where config says of a regularizer, made, what has no meaning for it."""
    for part in parts_of(made):
        check_class(type(part))
        _check_written(part)
        if part.automatic is not None and isinstance(part, Penalty):
            raise ConfigError(
                f"{part} has k: auto, for which the constraint that k is of is left out while the natural density of Γ is measured, and "
                "it is a penalty; give k, or a schedule of it"
            )
    if not penalizes(made):
        for key, default in (("delivery", "gradient"), ("accumulation", 1)):
            value = getattr(config, key)
            if value not in (None, default):
                raise ConfigError(
                    f"{key} is {value!r}, which says how a penalty reaches the loss, and {made} is a constraint, which acts "
                    f"in the forward pass; leave {key} out"
                )
    if config.apart and (config.sites or config.adapter):
        raise ConfigError(
            f"{'sites' if config.sites else 'adapter'} is given, and each of {', '.join(config.names)} has sites of its own, so that it "
            "would have no effect; leave it out"
        )
    if config.role == "discriminator" and (inserting := [part for part in parts_of(made) if inserts(part)]):
        raise ConfigError(
            f"{inserting[0]} inserts dictionaries before the convolution that synthesizes an image, and a discriminator synthesizes "
            "none; give it another regularizer, such as l0_inf"
        )
    atoms = next((part for part in parts_of(made) if isinstance(part, AtomPenalty)), None)
    if config.role == "discriminator" and atoms is not None:
        raise ConfigError(
            f"{atoms} is of the atoms of D1, and a discriminator synthesizes nothing of atoms; give it another regularizer, such "
            "as l0_inf"
        )


def _check_written(part: Regularizer) -> None:
    """Raises ConfigError where the settings that a checkpoint holds do not make part again."""
    written = json.dumps(part.fields())
    try:
        again = json.dumps(type(part)(**json.loads(written)).fields())
    except Exception as error:  # of a constructor of somebody's own
        raise ConfigError(f"{part}: these settings, as they stand in a checkpoint, do not make it again: {error}") from None
    if again != written:
        raise ConfigError(f"{part}: these settings, as they stand in a checkpoint, make another one again, {again}")

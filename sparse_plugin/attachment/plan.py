"""What `attach` was asked for, as one object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sparse_plugin.config import Delivery, Role, SparsityConfig
from sparse_plugin.errors import ConfigError, shown
from sparse_plugin.network.sites import Site
from sparse_plugin.registry import by_default, compose, create
from sparse_plugin.registry.base import Constraint, Penalty, Regularizer
from sparse_plugin.registry.composition import Composition
from sparse_plugin.support import advice
from sparse_plugin.support.sinks.sink import JSONL

# Steps between two measurements where nobody says.
MEASURE_EVERY = 100


@dataclass(frozen=True)
class Plan:
    """A regularizer, where it acts and how. Picklable: it may wait in a generator for the first call.

    role: which network it is. sites, adapter: where Γ is read, if that was said. The rest is as `attach` takes it, with nothing left open.
    """

    regularizer: Regularizer
    sites: tuple[str, ...] = ()
    adapter: str | None = None
    delivery: Delivery = "gradient"
    accumulation: int = 1
    run_dir: str | None = None
    measure_every: int = MEASURE_EVERY
    log: tuple[str, ...] = (JSONL,)
    role: Role = "generator"

    @classmethod
    def of(cls, config: SparsityConfig) -> Plan:
        """What a config asks of one network. Raises ConfigError as its `build` does, and where it asks something of two."""
        if config.beside:
            raise ConfigError(
                f"the config has sections of two networks, {config.title}, one beside the other, and one network was handed over; take "
                'that of its role, as in config.for_role("discriminator")'
            )
        return cls(
            config.build(),
            tuple(config.sites),
            config.adapter,
            config.delivery or "gradient",
            config.accumulation,
            config.run_dir,
            MEASURE_EVERY if config.measure_every is None else config.measure_every,
            tuple(config.log),
            config.role,
        )


def asked(
    regularizer: str | Regularizer | SparsityConfig | Sequence[str | Regularizer], settings: dict[str, Any], **own: Any
) -> SparsityConfig:
    """What attach was asked for, as a config. Raises ConfigError for what contradicts or would have no effect."""
    own = {key: value for key, value in own.items() if value is not None}
    if isinstance(regularizer, SparsityConfig):
        config = regularizer
        beside = [*own, *settings]
        if beside:
            raise ConfigError(
                f"{', '.join(beside)} {'is' if len(beside) == 1 else 'are'} given beside a SparsityConfig, which says all of "
                "that; put it into the config, or take a changed copy, as in config.with_(sites=[...])"
            )
        for key in ("host", "generator", "discriminator"):
            if getattr(config, key) is not None:
                raise ConfigError(
                    f"the config's {key}, {getattr(config, key)!r}, says where enable() and sparse-plugin run look for a network, "
                    f"and attach was handed one; leave it out, as in config.with_({key}=None)"
                )
    elif isinstance(regularizer, (list, tuple)):
        _check_parts(regularizer)
        config = SparsityConfig.of(compose(regularizer, settings), **own)
    elif isinstance(regularizer, str):
        made = create(regularizer, settings) if settings else by_default(regularizer)
        config = SparsityConfig.of(made, **own)
    elif isinstance(regularizer, (Constraint, Penalty, Composition)):
        if settings:
            raise ConfigError(
                f"settings {', '.join(settings)} are given beside {regularizer}, which has its own; leave them out"
            )
        config = SparsityConfig.of(regularizer, **own)
    else:
        raise ConfigError(f"the regularizer is {shown(regularizer)}; give a registered name, a Constraint or a Penalty")
    if config.run_dir is None and JSONL in config.log and config.log != [JSONL]:
        raise ConfigError(
            f"log is {shown(config.log)} and there is no run_dir for the JSON lines; give run_dir=..., or leave jsonl out of log"
        )
    if config.measure_every and config.run_dir is None and JSONL in config.log:
        raise ConfigError(
            f"measure_every is {shown(config.measure_every)} and there is no run_dir to log to; give run_dir=..., or call "
            "attachment.measure(...) yourself"
        )
    return config


def _check_parts(parts: Sequence[Any]) -> None:
    """Raises ConfigError for what cannot be one of several regularizers."""
    for part in parts:
        if not isinstance(part, (str, Constraint, Penalty)):
            raise ConfigError(
                f"the list of regularizers has {shown(part)} in it; give registered names, Constraints and Penalties, as in "
                '["l1", "l0_inf"]'
            )


def paths(sites: str | Site | Iterable[str | Site]) -> list[str] | None:
    """Sites as they stand in a config; None where none are given."""
    try:
        listed = [sites] if isinstance(sites, (str, Site)) else list(sites)
    except TypeError:
        listed = [sites]  # type: ignore[list-item]
    for site in listed:
        if not isinstance(site, (str, Site)) or not isinstance(getattr(site, "path", ""), str):
            raise ConfigError(f'a site is {shown(site)}; give the path of a module, as in {advice.sites("c5")}')
    for level, site in enumerate(listed, 1):
        if isinstance(site, Site) and site.level not in (1, level):
            raise ConfigError(
                f"the {site}, of level {site.level}, stands at place {level}; list sites in order, Γ_1 first"
            )
    return [site if isinstance(site, str) else f"{site.path}:{site.side}" for site in listed] or None

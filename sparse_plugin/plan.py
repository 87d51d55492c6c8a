"""What `attach` was asked for, as one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparse_plugin.config import Delivery, SparsityConfig
    from sparse_plugin.registry.base import Regularizer

# Steps between two measurements where nobody says.
MEASURE_EVERY = 100


@dataclass(frozen=True)
class Plan:
    """A regularizer, where it acts and how. Picklable: it may wait in a generator for the first call.

    sites, adapter: where Γ is read, if that was said. The rest is as `attach` takes it, with nothing left open.
    """

    regularizer: Regularizer
    sites: tuple[str, ...] = ()
    adapter: str | None = None
    delivery: Delivery = "gradient"
    accumulation: int = 1
    run_dir: str | None = None
    measure_every: int = MEASURE_EVERY

    @classmethod
    def of(cls, config: SparsityConfig, regularizer: Regularizer) -> Plan:
        """From a config and the regularizer that it builds."""
        return cls(
            regularizer,
            tuple(config.sites),
            config.adapter,
            config.delivery or "gradient",
            config.accumulation,
            config.run_dir,
            MEASURE_EVERY if config.measure_every is None else config.measure_every,
        )

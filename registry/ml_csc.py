"""Multi-layer convolutional sparse coding."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from sparse_plugin.registry.base import Appearance, Constraint, K, Observer

if TYPE_CHECKING:
    from torch import Tensor, nn


class MLCSC(Constraint):
    """Γ_L → project → D_L → Γ_(L-1) → project → … → Γ_1 → project → D1, with D_2..D_L inserted and learned.

    The dictionaries are bias-free linear convolutions from C to C channels that start as the identity, so that the
    host's function is kept at step 0. Every level is held by one constraint, `l0_inf` in the paper (section 3, ML-CSC).

    levels: L >= 2. k: of every level, or a list of L values from Γ_1 to Γ_L. constraint: the registered name of a
    constraint with a field k. kernel_size: odd, the sides of D_2..D_L.
    """

    k: K | list[K] = Field(description="k, the coefficients kept: one value for all levels, or a list from Γ_1 to Γ_L")
    levels: int = Field(default=2, ge=2, le=64)
    constraint: str = "l0_inf"
    kernel_size: int = Field(default=3, ge=1, le=99)

    unscheduled = ("levels", "kernel_size")
    # docs/results.md has the sweeps that found them: of a DCGAN.
    defaults: ClassVar[dict[str, float]] = {"k": 0.25}
    appearance = Appearance("ML", "#009E73", 3)

    @model_validator(mode="after")
    def _check(self) -> MLCSC:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {self.kernel_size}; give an odd number, so that Γ keeps its size")
        if isinstance(self.k, list) and len(self.k) != self.levels:
            raise ValueError(f"k lists {len(self.k)} values for {self.levels} levels; give one for each, or one value")
        assert self.constraints  # looked up now: a wrong name is a wrong setting
        return self

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """What holds Γ_1 to Γ_L, in this order."""
        return tuple(self._at(level) for level in range(1, self.levels + 1))

    def _at(self, level: int) -> Constraint:
        """The constraint that holds Γ_level."""
        from sparse_plugin.registry import create

        made = create(self.constraint, {"k": self.k[level - 1] if isinstance(self.k, list) else self.k})
        if not isinstance(made, Constraint):
            raise ValueError(f"constraint is {self.constraint!r}, a penalty; name a constraint such as 'l0_inf'")
        if made.remembers:
            raise ValueError(f"constraint is {self.constraint!r}, which keeps numbers from forward to forward; name another one")
        if made.dictionaries(1, 2) is not None:
            raise ValueError(f"constraint is {self.constraint!r}, which inserts dictionaries itself; name a projection such as 'l0_inf'")
        return made

    def project(self, gamma: Tensor) -> Tensor:
        """Γ_1 projected; the deeper levels need the inserted dictionaries, see `represent`."""
        return self.constraints[0].project(gamma)

    def holds(self, gamma: Tensor) -> bool:
        """Γ_1, which D1 consumes, meets its constraint."""
        return self.constraints[0].holds(gamma)

    def slack(self, channels: int, size: int | None) -> str:
        """At which levels, and why; an inserted dictionary acts all the same."""
        found = {level: why for level, each in enumerate(self.constraints, 1) if (why := each.slack(channels, size))}
        return "; ".join(f"at level {level}, {why}" for level, why in found.items())

    def dictionaries(self, channels: int, spatial: int) -> nn.Module:
        """D_2..D_L for Γ with this many channels."""
        from sparse_plugin.registry.dictionaries import Dictionaries

        return Dictionaries(self.levels, channels, (self.kernel_size,) * spatial)

    def represent(self, gamma: Tensor, dictionaries: nn.Module | None, observe: Observer | None = None) -> Tensor:
        """Γ_1 from Γ_L. gamma: Γ_L, (N, C, ...). Returns the same shape and dtype."""
        for level in range(self.levels, 0, -1):
            sparse = self.constraints[level - 1].project(gamma)
            if observe is not None:
                observe(level, gamma, sparse)
            gamma = dictionaries[f"D{level}"](sparse) if level > 1 else sparse  # type: ignore[index]
        return gamma

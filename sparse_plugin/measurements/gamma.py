"""Measuring Γ: sparsity levels, needle-density maps, atom usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Wider maps are averaged down to this: one line of a log stays a few kilobytes.
MAP_SIDE = 32

# Of every line of a log.
_KEYS = frozenset(
    (
        *("time", "step", "site", "level", "role", "regularizer", "sparsity_before", "sparsity", "penalty"),
        *("never_used", "unused_so_far", "atom_usage", "needle_density"),
    )
)


@dataclass(frozen=True)
class Measurement:
    """One representation, over one batch.

    sparsity_before, sparsity: percentage of non-zeros of Γ before and after its projection, 0 to 100 (the paper's
    sparsity level). needle_density: (H, W), the mean share of non-zeros of the needle at each position, 0 to 1 (paper,
    figure 4b). atom_usage: (C,), the share of positions that use each atom, 0 to 1. penalty: its value, or None. settings: those
    of the regularizer that change over training, as they were then. regularizer: its name; of several at one site each has a
    measurement of what it takes and leaves. measured: what the regularizer itself measures, by name. role: of the network.
    """

    site: str
    level: int
    sparsity_before: float
    sparsity: float
    needle_density: Tensor
    atom_usage: Tensor
    penalty: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    regularizer: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    role: str = "generator"

    @property
    def never_used(self) -> int:
        """How many atoms no position of the batch uses."""
        return int((self.atom_usage == 0).sum())

    def record(self) -> dict[str, Any]:
        """As it stands in a log, maps wider than MAP_SIDE averaged down."""
        density = self.needle_density
        if density.dim() == 2 and max(density.shape) > MAP_SIDE:
            side = (min(density.shape[0], MAP_SIDE), min(density.shape[1], MAP_SIDE))
            density = F.adaptive_avg_pool2d(density[None, None], side)[0, 0]
        return {
            "site": self.site,
            "level": self.level,
            **({} if self.role == "generator" else {"role": self.role}),
            "regularizer": self.regularizer,
            **self._further(self.settings),
            "sparsity_before": round(self.sparsity_before, 4),
            "sparsity": round(self.sparsity, 4),
            "penalty": self.penalty,
            **self._further(self.measured),
            "never_used": self.never_used,
            "atom_usage": [round(v, 5) for v in self.atom_usage.tolist()],
            "needle_density": _rounded(density.tolist()),
        }

    def _further(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """What a regularizer has of its own, with its name before a key that every line has."""
        return {f"{self.regularizer}.{name}" if name in _KEYS else name: value for name, value in found.items()}


@dataclass
class GammaStatistics:
    """What is kept of Γ until it is read: small tensors on Γ's device, no synchronisation."""

    site: str
    level: int
    before: Tensor
    after: Tensor
    needle_density: Tensor
    atom_usage: Tensor
    penalty: Tensor | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    regularizer: str = ""
    measured: Mapping[str, Tensor] = field(default_factory=dict)
    role: str = "generator"

    def read(self) -> Measurement:
        """The numbers; waits for the device."""
        return Measurement(
            self.site,
            self.level,
            100 * float(self.before),
            100 * float(self.after),
            self.needle_density.cpu(),
            self.atom_usage.cpu(),
            None if self.penalty is None else float(self.penalty),
            self.settings,
            self.regularizer,
            {name: float(value) for name, value in self.measured.items()},
            self.role,
        )


@torch.no_grad()
def gamma_statistics(site: str, level: int, before: Tensor, after: Tensor) -> GammaStatistics:
    """Count Γ's non-zeros. before, after: (N, C, ...), the same tensor where nothing was projected."""
    used = after.detach() != 0
    positions = (0, *range(2, used.dim()))
    return GammaStatistics(
        site,
        level,
        before=(before.detach() != 0).float().mean() if before is not after else used.float().mean(),
        after=used.float().mean(),
        needle_density=used.float().mean((0, 1)),
        atom_usage=used.float().mean(positions),
    )


def mean(batches: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    """The measurements over several batches of the same size, of those over each, which list the same representations."""
    found = []
    for parts in zip(*batches, strict=True):
        penalties = [part.penalty for part in parts if part.penalty is not None]
        found.append(
            Measurement(
                parts[0].site,
                parts[0].level,
                sum(part.sparsity_before for part in parts) / len(parts),
                sum(part.sparsity for part in parts) / len(parts),
                torch.stack([part.needle_density for part in parts]).mean(0),
                torch.stack([part.atom_usage for part in parts]).mean(0),
                sum(penalties) / len(parts) if penalties else None,
                parts[0].settings,
                parts[0].regularizer,
                {name: sum(part.measured[name] for part in parts) / len(parts) for name in parts[0].measured},
                parts[0].role,
            )
        )
    return found


def _rounded(values: Any) -> Any:
    return [_rounded(v) for v in values] if isinstance(values, list) else round(values, 4)

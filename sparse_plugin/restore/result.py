"""What a restoration gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sparse_plugin.restore.pictures import Array


@dataclass(eq=False)
class Curves:
    """What was seen of a restoration. The first five have one value an iteration, the i-th of iteration i + 1.

    loss: the mean squared error between A(x) and the given image. variance: of the stopping rule, NaN before it has one; with held-out
    pixels the error there.
    psnr_single, psnr_average: in dB, of the output and of its exponential average; empty without a clean image. density:
    by iteration, the share of non-zeros of Γ_1..Γ_K, as the rest of the network consumes them, 0 to 1. backtracked: the
    iterations that went back to earlier weights.
    """

    loss: list[float] = field(default_factory=list)
    variance: list[float] = field(default_factory=list)
    psnr_single: list[float] = field(default_factory=list)
    psnr_average: list[float] = field(default_factory=list)
    density: dict[int, list[float]] = field(default_factory=dict)
    backtracked: list[int] = field(default_factory=list)

    def best(self, name: str) -> tuple[float, int]:
        """The highest value of "psnr_single" or "psnr_average", and its iteration. Raises ValueError without a clean image."""
        values: list[float] = getattr(self, name)
        highest = max(values)
        return highest, values.index(highest) + 1


@dataclass(frozen=True)
class Raced:
    """One k that was tried. iterations: how many it had; iteration, value: where the error at the held-out pixels was lowest, and
    how low; None for one whose loss was no finite number.
    """

    k: float
    iterations: int
    iteration: int | None
    value: float | None


@dataclass(frozen=True)
class Choice:
    """What was chosen without a clean image. criterion: "heldout", "wmv" or "emv"; value: its lowest, at `iteration`. pixels: how many
    were held out. k: of Γ_1..Γ_K, where it was chosen, and raced: those that were tried; iterations: of all of them together.
    refit: how many iterations went on from there with the held-out pixels in the loss.
    """

    criterion: str
    value: float
    iteration: int
    pixels: int = 0
    k: tuple[float, ...] = ()
    raced: tuple[Raced, ...] = ()
    iterations: int = 0
    refit: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Choice:
        """Of what `to_json` gave."""
        raced = tuple(Raced(**each) for each in values["raced"])
        return cls(**{**values, "k": tuple(values["k"]), "raced": raced})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        by = f"by the error at {self.pixels} held-out pixels" if self.pixels else f"by {self.criterion}"
        said = f"iteration {self.iteration} {by}, {self.value:.4g}"
        if self.refit:
            said += f", and {self.refit} more with them"
        if not self.k:
            return said
        tried = ", ".join(f"{each.k:g} ({'diverged' if each.value is None else format(each.value, '.4g')})" for each in self.raced)
        scales = f"{len(self.k)} scale" + "s" * (len(self.k) > 1)
        return f"k = {self.k[0]:g} at {scales}, {said}; tried k = {tried}, {self.iterations} iterations in all"


@dataclass(frozen=True, eq=False)
class RestorationResult:
    """A restored image, and how it came about.

    average, single: the exponential average of the outputs, and the output, of iteration `iteration`: the one at the lowest
    variance or error, or the last where no rule chooses; where pixels were held out, after `chosen.refit` more from there.
    (H, W) or (H, W, 3), float32 in [0, 1]. iterations: how many were done before; stopped: whether the rule ended them. scores:
    against the clean image, PSNR in dB and SSIM of `average` and `single`, and of the given image where it has that size;
    best_single, best_average: the highest PSNR of any iteration, which only the clean image can tell (the paper's Table 4);
    empty without one. scales: height and width of Γ_1..Γ_K. chosen: what a rule,
    or `k: auto`, chose; None where nothing did. Under `k: auto` everything else is of the k that was chosen.
    """

    average: Array
    single: Array
    iteration: int
    iterations: int
    stopped: bool
    scores: dict[str, float]
    curves: Curves
    scales: tuple[tuple[int, int], ...] = ()
    chosen: Choice | None = None

    @property
    def image(self) -> Array:
        """The result: the averaged output."""
        return self.average

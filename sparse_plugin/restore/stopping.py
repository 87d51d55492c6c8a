"""Early stopping without a clean image, by the moving variance of the output: Wang et al. 2021, "Early Stopping for Deep
Image Prior" (arXiv 2112.06074), ES-WMV and ES-EMV.

While the network learns the image, successive outputs draw together; once it learns the noise they move apart. The output
at the lowest variance is kept, and the run is over when the variance was not lower for `patience` iterations.

With held-out pixels (`held_out`) it is the error of the averaged output there that is to be lowest, and the rest is the same.

Their patience is 1000. Outputs of small images draw together again once the noise is learned, below the valley that came
first, so it must not be too long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from sparse_plugin.errors import ConfigError, one_of

# Values of an output at which the window is kept; of a larger one, as many spread evenly.
KEPT = 2**16

# The rule by the error at held-out pixels.
HELD_OUT = "heldout"


class Measure(Protocol):
    """What a rule looks at: a number of every image, None as long as there is none."""

    def __call__(self, image: Tensor, /) -> float | None:
        """The number, the lower the better."""

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""


class WindowVariance:
    """WMV: the mean over values of their variance within the latest `size` outputs.

    WMV(t) = 1/W Σ_w ‖x_{t-w} - 1/W Σ_v x_{t-v}‖², w, v = 0..W-1, here divided by the number of values.
    """

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.window: Tensor | None = None  # (size, values), each output in the place of the one it replaced
        self.count = 0

    def __call__(self, output: Tensor) -> float | None:
        """The variance, once the window is full."""
        values = output.detach().flatten()
        values = values[:: max(1, math.ceil(len(values) / KEPT))]
        if self.window is None:
            self.window = values.new_zeros(self.size, len(values))
        self.window[self.count % self.size] = values
        self.count += 1
        return float(self.window.var(0, correction=0).mean()) if self.count >= self.size else None

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        window = torch.empty(0) if self.window is None else self.window
        return {"window": window, "count": torch.tensor(self.count)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self.count = int(state["count"])
        self.window = state["window"].clone() if self.count else None


class ExponentialVariance:
    """EMV: the exponentially weighted variance of the outputs, which needs one output's memory.

    x̄ <- (1 - α) x̄ + α x;  EMV <- (1 - α) (EMV + α ‖x - x̄_before‖²), here divided by the number of values.
    """

    def __init__(self, alpha: float = 0.1, warm: int = 100) -> None:
        self.alpha, self.warm = alpha, warm
        self.count = 0
        self.mean: Tensor | None = None
        self.variance = 0.0

    def __call__(self, output: Tensor) -> float | None:
        """The variance, after `warm` outputs: before, it is low because it began at 0."""
        output = output.detach()
        self.count += 1
        if self.mean is None:
            self.mean = output.clone()
            return None
        away = float((output - self.mean).square().mean())
        self.variance = (1 - self.alpha) * (self.variance + self.alpha * away)
        self.mean.lerp_(output, self.alpha)
        return self.variance if self.count >= self.warm else None

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        mean = torch.empty(0) if self.mean is None else self.mean
        return {"mean": mean, "own": torch.tensor([self.variance, self.count], dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self.mean = state["mean"].clone() if state["mean"].numel() else None
        self.variance, count = state["own"].tolist()
        self.count = int(count)


RULES: dict[str, type[WindowVariance | ExponentialVariance]] = {"wmv": WindowVariance, "emv": ExponentialVariance}


class Stopping:
    """When a run is over: its rule's measure, a variance or an error, was not lower than its lowest for `patience` iterations.

    rule: "wmv", "emv", "heldout", whose measure is to be set, or None for never. Raises ConfigError for another rule, or a
    patience below 1.
    """

    def __init__(self, rule: str | None, patience: int) -> None:
        if rule is not None and rule != HELD_OUT and rule not in RULES:
            raise ConfigError(one_of("stopping rule", rule, (*RULES, HELD_OUT)))
        if patience < 1:
            raise ConfigError(f"patience is {patience}; give iterations, 1 or more, such as 300")
        self.rule = rule
        self.measure: Measure | None = RULES[rule]() if rule in RULES else None
        self.patience = patience
        self.lowest = math.inf
        self.waited = 0
        self.variance = math.nan  # the measure's latest value

    def see(self, output: Tensor, average: Tensor | None = None) -> bool:
        """Whether the measure is the lowest so far, with this output and, for held-out pixels, the average that it came to."""
        value = None if self.measure is None else self.measure(average if self.rule == HELD_OUT and average is not None else output)
        if value is None:
            return False
        self.variance = value
        lower = value < self.lowest
        self.lowest = min(value, self.lowest)
        self.waited = 0 if lower else self.waited + 1
        return lower

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        numbers = torch.tensor([self.lowest, float(self.waited), self.variance], dtype=torch.float64)
        return {"numbers": numbers, **({} if self.measure is None else self.measure.state())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self.lowest, waited, self.variance = state["numbers"].tolist()
        self.waited = int(waited)
        if self.measure is not None:
            self.measure.load(state)

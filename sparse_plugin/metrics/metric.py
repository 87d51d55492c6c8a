"""`Metric`: what is measured on features, how many images it needs, and what it depends on; one file each.

The arithmetic of the built-in ones is torch-fidelity's. Generated features always stand first, real ones second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sparse_plugin.errors import SparsePluginError

if TYPE_CHECKING:
    from torch import Tensor

# Whatever is drawn at random is drawn by it; as in torch-fidelity, whose default it is.
SEED = 2020


class MetricError(SparsePluginError, ValueError):
    """A metric that cannot be measured on what was given."""


@dataclass(frozen=True)
class Score:
    """A value, and the standard deviation over the subsets or splits that it is the mean of, where there are any."""

    value: float
    deviation: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.5g}" + ("" if self.deviation is None else f" ± {self.deviation:.2g}")


class Metric:
    """What is measured on the features of an extractor. Derive from it, set what is set here, and define `measure`.

    title: what it is asked for by, before the extractor's name: "FD" for FD-lite0. rows: what it comes to, and which is
    better, by the names that stand before the extractor's. called: its own names on some extractors. only: the extractors
    that it is for; None for all. of_logits: whether it is measured on the generated images' logits, and on nothing real.
    over_steps: whether it is measured at the earlier steps of a run too. by_default: whether it is measured where nobody
    says what. order: its place in reports. package: whose arithmetic it is, a distribution; by default the one that
    registers it. subset: images in a random subset, of metrics that are means over subsets.
    """

    title: ClassVar[str]
    rows: ClassVar[Mapping[str, Literal["lower", "higher"]]]
    called: ClassVar[Mapping[str, str]] = {}
    only: ClassVar[tuple[str, ...] | None] = None
    of_logits: ClassVar[bool] = False
    over_steps: ClassVar[bool] = False
    by_default: ClassVar[bool] = False
    order: ClassVar[int] = 100
    package: ClassVar[str] = ""
    subset: int | None = None

    @classmethod
    def on(cls, extractor: str, row: str | None = None) -> str:
        """What the metric, or one of its rows, is called on an extractor: "FD-lite0", "FID"."""
        if row is None or row == cls.title:
            return cls.called.get(extractor, f"{cls.title}-{extractor}")
        return f"{row}-{extractor}"

    def least(self, dimensions: int) -> tuple[int, str]:
        """How many images of each kind it needs, on so many features, and why."""
        del dimensions
        return 1, "there is nothing to measure"

    def prepare(self, real: Tensor) -> Any:
        """What `measure` takes of the real features, (M, D), computed once for each set of real images."""
        return real

    def measure(self, generated: Tensor, real: Any) -> dict[str, Score]:
        """The scores of generated features, (N, D) float32 on the CPU, or of logits, (N, classes), by the names of rows.

        real: what `prepare` returned; None of a metric of logits.
        """
        raise TypeError(f"{type(self).__name__} does not define measure(generated, real)")

    def protocol(self, generated: int, real: int) -> dict[str, str]:
        """What its scores of so many images depend on, in words, by a heading."""
        del generated, real
        return {}

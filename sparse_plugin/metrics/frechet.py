"""The Fréchet distance: FID on the features of Inception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparse_plugin.metrics.metric import Metric, Score

if TYPE_CHECKING:
    from torch import Tensor


class Frechet(Metric):
    """See `frechet`."""

    title, rows, called = "FD", {"FD": "lower"}, {"inception": "FID"}
    over_steps, by_default, order, package = True, True, 0, "torch-fidelity"

    def least(self, dimensions: int) -> tuple[int, str]:
        """One more than there are features."""
        return dimensions + 1, f"a covariance of {dimensions} features needs more images than that"

    def prepare(self, real: Tensor) -> Any:
        """Their moments."""
        return moments(real)

    def measure(self, generated: Tensor, real: Any) -> dict[str, Score]:
        """The distance."""
        return {"FD": between(moments(generated), real)}


def frechet(generated: Tensor, real: Tensor) -> Score:
    """The Fréchet distance between the Gaussians of two sets of features, (N, D) and (M, D).

    ‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)  (Heusel et al., arXiv 1706.08500)

    By torch-fidelity 0.4, in float64, from the eigenvalues of Σ₁ Σ₂: of those that rounding made negative or complex, as
    with fewer images than features, the real part of the root is taken, so that the distance is real and finite.
    """
    return between(moments(generated), moments(real))


def moments(features: Tensor) -> Any:
    """The mean and the covariance of features, (N, D)."""
    from torch_fidelity.metric_fid import fid_features_to_statistics

    return fid_features_to_statistics(features)


def between(generated: Any, real: Any) -> Score:
    """`frechet` of two sets by their moments."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return Score(fid_statistics_to_metric(generated, real, verbose=False)[KEY_METRIC_FID])

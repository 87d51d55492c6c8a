"""Distances between generated and real images: FID, IS and KID where the Inception weights are at hand, and their
likes on the features of EfficientNet-Lite0, which are never called FID, where they are not.

A metric is a file with a `Metric`, an extractor of features one with an `Extractor`; `tables` has all that are registered.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparse_plugin.metrics.evaluator import Evaluator as Evaluator
    from sparse_plugin.metrics.extractor import Extractor as Extractor
    from sparse_plugin.metrics.extractor import Weights as Weights
    from sparse_plugin.metrics.metric import Metric as Metric
    from sparse_plugin.metrics.metric import MetricError as MetricError
    from sparse_plugin.metrics.metric import Score as Score
    from sparse_plugin.metrics.tables import EXTRACTORS as EXTRACTORS
    from sparse_plugin.metrics.tables import METRICS as METRICS
    from sparse_plugin.metrics.tables import register_extractor as register_extractor
    from sparse_plugin.metrics.tables import register_metric as register_metric

# Resolved on first use: what lists the tables needs neither torch nor the packages that images take.
_HOME = {
    "EXTRACTORS": "tables",
    "Evaluator": "evaluator",
    "Extractor": "extractor",
    "METRICS": "tables",
    "Metric": "metric",
    "MetricError": "metric",
    "Score": "metric",
    "Weights": "extractor",
    "register_extractor": "tables",
    "register_metric": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparse_plugin.metrics' has no attribute {name!r}; it offers {', '.join(_HOME)}")
    return getattr(import_module(f"sparse_plugin.metrics.{_HOME[name]}"), name)

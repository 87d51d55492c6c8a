"""Distances between generated and real images: FID, IS and KID where the Inception weights are at hand, and their
likes on the features of EfficientNet-Lite0, which are never called FID, where they are not.
"""

from __future__ import annotations

from sparse_plugin.metrics.evaluator import Evaluator as Evaluator
from sparse_plugin.metrics.scores import METRICS as METRICS
from sparse_plugin.metrics.scores import MetricError as MetricError
from sparse_plugin.metrics.scores import Score as Score
from sparse_plugin.metrics.weights import inception_weights as inception_weights

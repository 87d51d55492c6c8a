"""Items drawn at random, always the same ones."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sparse_plugin.metrics.metric import SEED


def drawn(items: Tensor, most: int) -> Tensor:
    """At most so many of the items, drawn without replacement, in their order; always the same ones."""
    if len(items) <= most:
        return items
    chosen = np.random.RandomState(SEED).permutation(len(items))[:most]
    return items[np.sort(chosen)]

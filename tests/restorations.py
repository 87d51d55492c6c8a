"""Restorations of a few iterations, and whether two are the same."""

import numpy as np
from restore_images import SMALL, photograph

from sparse_plugin import SparsityConfig
from sparse_plugin.restore import add_noise, restore

CLEAN = photograph()
NOISY = add_noise(CLEAN, 25, 0)


def sparse(regularizer, **settings):
    return SparsityConfig.from_mapping({"regularizer": regularizer, **settings})


def quick(image=NOISY, task=None, **changes):
    return restore(image, task, **{**SMALL, "iterations": 6, "log_every": 2, **changes})


def same(a, b):
    """Whether two results are equal to the last bit."""
    assert a.curves.loss == b.curves.loss and a.curves.density == b.curves.density and a.scores == b.scores
    np.testing.assert_array_equal(np.array(a.curves.variance), np.array(b.curves.variance))
    return np.array_equal(a.image, b.image) and np.array_equal(a.single, b.single) and a.iteration == b.iteration

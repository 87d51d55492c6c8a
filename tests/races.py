"""Restorations whose k chooses itself, in a few iterations."""

import numpy as np
import torch
from restore_images import SMALL, photograph

from sparse_plugin import SparsityConfig
from sparse_plugin.restore import add_noise, restore

CLEAN = photograph(36, 32)
NOISY = add_noise(CLEAN, 25, 0)
MASK = np.random.default_rng(0).random(CLEAN.shape[:2]) > 0.3
# Runs to their end, by what they are, each done once.
WHOLE = {}


def sparse(k, name="l0_inf"):
    return SparsityConfig.from_mapping({"regularizer": name, "k": k})


def composed(l0, l0_inf):
    return SparsityConfig.from_mapping({"regularizer": ["l0", "l0_inf"], "l0": l0, "l0_inf": l0_inf})


def quick(image=NOISY, task=None, **changes):
    return restore(image, task, **{**SMALL, "scales": 2, "iterations": 40, "log_every": 20, **changes})


def same(a, b):
    assert a.curves.loss == b.curves.loss and a.curves.variance == b.curves.variance and a.scores == b.scores
    return np.array_equal(a.image, b.image) and np.array_equal(a.single, b.single) and a.iteration == b.iteration


def tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


AUTO = sparse("auto")

"""A set of images and their files."""

import numpy as np
import pytest
from image_data import CLASSES, png


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pixels():
    """(30, 8, 8, 3), uint8, ten a class, in order of class."""
    return np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def labels():
    return np.repeat(np.arange(3), 10)


@pytest.fixture(scope="module")
def files(pixels, labels):
    """Name -> content, in class folders."""
    return {f"{CLASSES[c]}/{i:02}.png": png(p) for i, (p, c) in enumerate(zip(pixels, labels, strict=True))}

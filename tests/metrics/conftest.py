"""Photographs and what measures them, without a network."""

import socket

import pytest

from sparse_plugin.data import load


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("a metric must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_PLUGIN_INCEPTION", raising=False)


@pytest.fixture(scope="module")
def lite0():
    from sparse_plugin.metrics.lite0 import Lite0

    return Lite0(64)


@pytest.fixture(scope="module")
def crops():
    """Two disjoint sets of 128 photograph crops."""
    images = load(None).images
    return images[:128], images[128:256]

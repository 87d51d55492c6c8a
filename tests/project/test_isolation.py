"""What one test leaves behind is gone before the next."""

import importlib
import os
import random
import sys

import isolation
import numpy as np
import pytest
import torch

import sparse_plugin
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts.host import HOSTS
from sparse_plugin.network.adapters import ADAPTERS
from sparse_plugin.registry import REGULARIZERS
from sparse_plugin.support.plugins import Plugins


def traces():
    return {
        "tables": [sorted(table._local) for table in (REGULARIZERS, ADAPTERS, HOSTS)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "finders": list(sys.meta_path),
        "torch": (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()),
    }


def test_all_that_tests_change_is_set_back(tmp_path):
    before = traces()
    with isolation.kept():
        sparse_plugin.register("left_behind")(type("Left", (sparse_plugin.Constraint,), {"project": lambda self, gamma: gamma}))
        sparse_plugin.register_host(sparse_plugin.Host("left_behind", generators=["nowhere:Generator"]))
        os.environ.update(LEFT_BEHIND="1", OMP_NUM_THREADS="7")
        del os.environ["PATH"]
        os.chdir(tmp_path)
        sys.path.insert(0, "left behind")
        sys.meta_path.insert(0, object())
        torch.set_num_threads(1 + torch.get_num_threads())
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        assert [key for key, value in traces().items() if value == before[key]] == []
    assert traces() == before


def test_a_table_that_is_made_meanwhile_is_empty_afterwards():
    with isolation.kept():
        table = Plugins("thing", (), "a thing")
        table.register("left_behind", object(), "here")
    assert table.all() == {}
    isolation.TABLES.remove(table)


def test_every_test_starts_from_the_same_random_numbers():
    found = []
    for _ in range(2):
        with isolation.kept():
            found.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert found[0] == found[1]


def test_what_is_said_once_is_said_again():
    for name, table in isolation.ONCE:
        said = getattr(importlib.import_module(name), table)
        said.update({"left behind": 0.0} if isinstance(said, dict) else {"left behind"})
    with isolation.kept():
        assert not any(getattr(sys.modules[name], table) for name, table in isolation.ONCE)


def test_nothing_is_registered_while_tests_are_collected(monkeypatch):
    monkeypatch.setattr(isolation, "COLLECTING", [True])
    with pytest.raises(ConfigError, match="'too_early' is registered while tests are collected.*in a fixture"):
        sparse_plugin.register("too_early")(type("Early", (sparse_plugin.Constraint,), {"project": lambda self, gamma: gamma}))

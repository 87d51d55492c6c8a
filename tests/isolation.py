"""What tests may change in the process that they share, set back after each, so that none depends on those that ran before it."""

import os
import random
import sys
from contextlib import contextmanager

from sparse_plugin.errors import ConfigError
from sparse_plugin.support.plugins import Plugins

TABLES = []  # of plugins: all that were made since this was imported
COLLECTING = [True]
# What was said, or was missed, and is said once a process.
ONCE = [
    ("sparse_plugin.attachment.penalty", "_said"),
    ("sparse_plugin.projections.dispatch", "_said"),
    ("sparse_plugin.measurements.outlet", "_MISSED"),
]
_make, _register = Plugins.__init__, Plugins.register


def _noted(self, *args, **kwargs):
    _make(self, *args, **kwargs)
    TABLES.append(self)


def _in_its_turn(self, name, value, origin):
    if COLLECTING[0]:
        raise ConfigError(
            f"{name!r} is registered while tests are collected, which all other tests would see: register it in a fixture"
        )
    _register(self, name, value, origin)


Plugins.__init__, Plugins.register = _noted, _in_its_turn


@contextmanager
def kept():
    """Set back tables, environment, folder, import path, and torch's settings; start from the same random numbers, with nothing said."""
    local = {id(table): (dict(table._local), set(table._warned)) for table in TABLES}
    environment, folder, path, finders = dict(os.environ), os.getcwd(), list(sys.path), list(sys.meta_path)
    settings = [(get, put, get()) for get, put in _torch()]
    _seed()
    for module, name in ONCE:
        if module in sys.modules:
            getattr(sys.modules[module], name).clear()
    try:
        yield
    finally:
        for table in TABLES:
            table._local, table._warned = local.get(id(table), ({}, set()))
        for name in {*environment, *os.environ} - {"PYTEST_CURRENT_TEST"}:
            if name not in environment:
                del os.environ[name]
            elif os.environ.get(name) != environment[name]:
                os.environ[name] = environment[name]
        os.chdir(folder)
        sys.path[:], sys.meta_path[:] = path, finders
        for get, put, value in settings:
            if get() != value:
                put(value)


def _torch():
    """Getters and setters, where torch is imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    return [
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    ]


def _seed():
    random.seed(0)
    for name, seed in (("numpy", "random.seed"), ("torch", "manual_seed")):
        module = sys.modules.get(name)
        for part in seed.split("."):
            module = getattr(module, part, None)
        if module is not None:
            module(0)

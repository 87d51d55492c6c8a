"""One thread, and the package as it is installed."""

import os
import signal
from functools import cache

# Two torch threads on a busy machine can be many times slower than one. Set before torch is imported anywhere.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MKL_NUM_THREADS", "1")

# In the background of a script SIGINT is ignored, here and in what is started from here: what is interrupted would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

try:
    import isolation  # before any table is made

    import sparse_plugin.registry  # noqa: F401
except ModuleNotFoundError as error:
    pytest.exit(f"{error}. The checkout hides the installed package: run `pip install -e .`, or plain `pytest`.", 2)

from host_roots import driven
from hosts_report import skips_by_reason
from watchdog import watch


def pytest_configure(config):
    watch(config)


def pytest_collection_finish():
    isolation.COLLECTING[:] = [False]


def pytest_collection_modifyitems(items):
    for item in items:
        if "patches" in item.path.parts:
            item.add_marker(pytest.mark.host)
        if item.get_closest_marker("gpu") and not _gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))
    _check_names(items)


@cache
def _gpu():
    import torch

    return torch.cuda.is_available()


def _check_names(items):
    """Workers must find the same tests, so no name may hold the address of an object."""
    named = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named:
        pytest.exit(f"{named[0]} has another name in every process: give its parameters ids", 2)


@pytest.fixture(autouse=True)
def _kept():
    with isolation.kept():
        yield


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch, tmp_path):
    for name in ("SPARSE_PLUGIN_CONFIG", "SPARSE_PLUGIN_BOOT", "SPARSE_PLUGIN_STATUS", "SPARSE_PLUGIN_RUN_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _off_afterwards():
    yield
    from sparse_plugin.hosts import enable
    from sparse_plugin.support import advice

    enable.disable()
    advice.speak_to("attach")  # a command that ran in this process speaks in flags until it ends


@pytest.fixture(autouse=True)
def _drives(record_property):
    """What the table of hosts counts: which code a test ran on."""
    driven.clear()
    yield
    for host in sorted(driven):
        record_property("host", host)


def pytest_terminal_summary(terminalreporter):
    skips_by_reason(terminalreporter)

"""Ends a run of several workers in which nothing happens any more, with a failure.

pytest-timeout ends a test that takes too long, in its worker; where a worker is stopped, or dies in a way that the
scheduler does not see, the controller would wait for ever.
"""

import os
import signal
import sys
import threading
import time

import pytest

# Seconds without a report; a single test has 600.
SILENCE = 900.0


class Watchdog:
    """Registered in the controller. silence: how many seconds without a report end the run."""

    def __init__(self, silence=SILENCE):
        self.silence, self.heard, self.workers = silence, time.monotonic(), {}
        self.over = threading.Event()

    def pytest_sessionstart(self):
        threading.Thread(target=self._watch, daemon=True).start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node):
        self.heard = time.monotonic()
        self.workers[node.gateway.id] = node.gateway._rinfo().pid

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.workers.pop(node.gateway.id, None)

    def pytest_runtest_logreport(self):
        self.heard = time.monotonic()

    def pytest_unconfigure(self):
        self.over.set()

    def _watch(self):
        while not self.over.wait(min(1.0, self.silence / 4)):
            if time.monotonic() - self.heard > self.silence:
                print(f"\nno test ended for {self.silence:g} seconds: the run is given up", file=sys.__stderr__, flush=True)
                for worker in self.workers.values():
                    os.kill(worker, getattr(signal, "SIGKILL", signal.SIGTERM))
                os._exit(1)


def watch(config, silence=SILENCE):
    """Register a watchdog where config is that of a controller of workers."""
    if not hasattr(config, "workerinput") and getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(Watchdog(silence), "watchdog")

"""A regularizer of somebody's own, in a file of its own."""

import pytest

from sparse_plugin.registry import REGULARIZERS

HALVES = """
import sparse_plugin

@sparse_plugin.register("halves")
class Halves(sparse_plugin.Constraint):
    def project(self, gamma):
        return gamma / 2
"""


@pytest.fixture
def halves(tmp_path):
    (tmp_path / "halves.py").write_text(HALVES)
    yield tmp_path / "halves.py"
    REGULARIZERS.unregister("halves")

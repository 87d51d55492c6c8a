"""One version in all the places that state it."""

import re
from importlib.metadata import version
from pathlib import Path

import sparse_plugin

ROOT = Path(__file__).parents[2]


def test_one_version():
    stated = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    assert sparse_plugin.__version__ == stated == cited == version("sparse-plugin")

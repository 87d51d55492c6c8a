"""What checks a commit here, before it and on GitHub is the same."""

import re
from importlib.metadata import version

import compat
import pytest
import yaml

HOOKS = yaml.safe_load((compat.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
JOBS = yaml.safe_load((compat.ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]


def runs(job):
    return " ".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_one_ruff():
    """By another version what passes before a commit may fail after it."""
    (dev,) = (text for text in compat.project()["optional-dependencies"]["dev"] if text.startswith("ruff"))
    (hook,) = (hook for repo in HOOKS for hook in repo["hooks"] if hook["id"] == "ruff")
    assert hook["additional_dependencies"] == [dev]
    if dev != f"ruff=={version('ruff')}":
        pytest.fail(f"pyproject.toml asks for {dev}, and ruff {version('ruff')} is installed")


def test_every_hook_has_one_version():
    for hook in (hook for repo in HOOKS for hook in repo["hooks"]):
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", text) for text in hook["additional_dependencies"]), hook["id"]


def test_the_workflow_runs_what_is_run_here():
    assert runs("checks").strip() == "bash .ci/run" and (compat.ROOT / ".ci" / "run").is_file()
    assert "make compat PAIR=${{ matrix.pair }}" in runs("compat")
    pairs = {row["pair"]: row["python"] for row in JOBS["compat"]["strategy"]["matrix"]["include"]}
    assert set(pairs) == {"oldest", "newest"} and pairs["oldest"] == compat.least_python(compat.project())


def test_the_tests_that_it_names_are_there():
    named = re.findall(r"tests/\S+", runs("systems"))
    assert named and [name for name in named if not (compat.ROOT / name).exists()] == []
    assert "make" not in runs("systems")

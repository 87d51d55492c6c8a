"""A test run ends, and fails, whatever happens to a worker; so does `.ci/run`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The distribution that `make test` asks for.
OPTIONS = shlex.split(re.search(r"pytest (-n auto [^$\n]*)\$", (ROOT / "Makefile").read_text())[1])

TESTS = """
import os, signal
import pytest

@pytest.mark.parametrize("number", range(3))
def test_number(number):
    if {condition}:
        os.kill(os.getpid(), signal.{signal})
"""


def session(folder, conditions, signal, silence):
    """Runs a session of two workers on files whose tests meet a condition for dying. Returns its exit code and output."""
    for name, condition in conditions.items():
        (folder / f"test_{name}.py").write_text(TESTS.format(condition=condition, signal=signal))
    (folder / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom watchdog import watch\n\n"
        f"def pytest_configure(config):\n    watch(config, {silence})\n"
    )
    options = ["-n", "2", *OPTIONS[2:], "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)], capture_output=True, text=True, cwd=folder
    )
    return done.returncode, done.stdout + done.stderr


def test_a_worker_that_dies_fails_its_test_and_the_others_are_run(tmp_path):
    conditions = {"one": "number == 1", "two": "number == 2", "three": "False", "four": "number == 0", "five": "False"}
    code, said = session(tmp_path, conditions, "SIGKILL", silence=300)
    assert code == 1 and "3 failed, 12 passed" in said, said
    assert said.count("crashed while running") >= 3


@pytest.mark.slow
def test_a_worker_that_answers_no_more_ends_the_run(tmp_path):
    code, said = session(tmp_path, {"one": "number == 1", "two": "False"}, "SIGSTOP", silence=8)
    assert code == 1 and "no test ended for 8 seconds: the run is given up" in said, said


@pytest.mark.skipif(shutil.which("timeout") is None, reason="the guard of .ci/run is coreutils' timeout")
def test_the_last_guard_ends_the_whole(tmp_path):
    (tmp_path / "make").write_text("#!/bin/sh\nsleep 60\n")
    (tmp_path / "make").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CI_LIMIT": "1"}
    environment.pop("CI_GUARDED", None)  # the run that this test is a part of is guarded already
    done = subprocess.run([ROOT / ".ci/run"], env=environment)
    assert done.returncode == 124

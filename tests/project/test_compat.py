"""What `make compat` tests: lower bounds read from pyproject.toml, and a sentence for what cannot be tested."""

import subprocess
import sys

import compat
import pytest

METADATA = {
    "name": "Some.Thing",
    "requires-python": ">=3.10",
    "dependencies": ["torch>=2.6", "tomli>=2; python_version < '3.11'"],
    "optional-dependencies": {
        "images": ["pillow>=9.5", "NumPy >= 1.9, < 3"],
        "all": ["some-thing[images, plots]", "exact==0.1.0", "pillow>=10"],
        "plots": ["some_thing[images]", "numpy>=1.24", "compatible~=2.2"],
        "unbounded": ["some-thing[images]", "free"],
        "capped": ["capped<3"],
    },
}


def test_every_requirement_is_at_its_lower_bound():
    """Across extras that name each other, the greatest of several bounds, by number and not by letter."""
    assert list(compat.lower_bounds(METADATA, "all").values()) == [
        "compatible==2.2", "exact==0.1.0", "numpy==1.24", "pillow==10", "tomli==2; python_version < '3.11'", "torch==2.6"
    ]  # fmt: skip


@pytest.mark.parametrize(("extra", "named"), [("unbounded", "free"), ("capped", "capped<3")])
def test_a_requirement_without_one_is_refused(extra, named):
    with pytest.raises(compat.Unable, match=rf"'{named}' in pyproject.toml has no lower bound"):
        compat.lower_bounds(METADATA, extra)


def test_this_project():
    """The pair of torch and torchvision is one: a torchvision goes with one torch alone."""
    bounds = compat.lower_bounds(compat.project())
    assert (bounds["torch"], bounds["torchvision"]) == ("torch==2.6", "torchvision==0.21")
    assert {"pydantic", "wrapt", "click", "numpy", "matplotlib", "onnx", "pytest"} <= set(bounds)
    assert compat.least_python(compat.project()) == "3.10"
    assert all(any((compat.ROOT / "tests" / room).glob("test_*.py")) for room in compat.ROOMS)


def test_an_interpreter_that_is_missing_is_said(tmp_path, monkeypatch, capsys):
    """And the other pair is tested all the same."""
    monkeypatch.setattr(compat, "newest_python", lambda: "3.99")
    monkeypatch.setattr(compat, "environment", lambda python, folder, pins: (tmp_path, {"torch": "2.6.0"}))
    monkeypatch.setattr(compat, "version_of", lambda *python: "3.10.1" if python == ("python3.10",) else "")
    monkeypatch.setattr(compat.subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 0))
    assert compat.main([]) == 2
    said = capsys.readouterr().out
    assert "oldest: Python 3.10.1, torch 2.6.0, torchvision missing" in said and "tests passed" in said
    assert "newest: Python 3.99 is not on this machine; install it, or name another with PYTHON=" in said


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_one_that_does_not_run_is_said(python, capsys):
    assert compat.main(["oldest", "--python", python]) == 2
    assert f"oldest: {python} does not run; give PYTHON= an interpreter of Python 3.10 or newer" in capsys.readouterr().out


def test_one_that_is_too_old_is_said(monkeypatch, capsys):
    monkeypatch.setattr(compat, "version_of", lambda *python: "3.9.2")
    assert compat.main(["oldest", "--python", "python3.9"]) == 2
    assert "oldest: python3.9 is Python 3.9.2; give" in capsys.readouterr().out


def test_no_index_no_newest(monkeypatch, capsys):
    monkeypatch.setattr(compat, "_has_torch", lambda version: False)
    assert compat.main(["newest"]) == 2
    assert "newest: pip finds no torch for this Python" in capsys.readouterr().out


def test_the_newest_is_the_last_that_has_wheels(monkeypatch):
    last = sys.version_info.minor + 2
    monkeypatch.setattr(compat, "_has_torch", lambda version: int(version.partition(".")[2]) <= last)
    assert compat.newest_python() == f"3.{last}"


def test_failed_tests_fail(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compat, "environment", lambda python, folder, pins: (tmp_path, {}))
    monkeypatch.setattr(compat, "version_of", lambda *python: "3.11.7")
    monkeypatch.setattr(compat.subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 1))
    assert compat.main(["oldest", "--python", "python3.11"]) == 2
    assert "oldest: Python 3.11.7 (not 3.10), torch missing, torchvision missing, " in capsys.readouterr().out

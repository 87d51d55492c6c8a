"""The commands that the launcher is given: which are refused beforehand, and what is said of those that end badly."""

import os
import stat
import sys

import pytest
from launched import sparse_plugin

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts import journal
from sparse_plugin.hosts.command import checked

ON = ("run", "--sparse", "l0", "--set", "sparse.k=1", "--")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print('ran')\n")
    return tmp_path


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("options", "letter"),
    [
        ("-I", "I"), ("-E", "E"), ("-S", "S"), ("-Es", "E"), ("-uIB", "I"), ("-sE", "E"), ("-W ignore -E", "E"),
        ("-Wignore -S", "S"), ("-X dev -I", "I"), ("--check-hash-based-pycs never -S", "S"), ("-bb -OO -E", "E"),
    ],
)  # fmt: skip
def test_an_interpreter_that_would_keep_the_plugin_out_is_refused(folder, options, letter):
    for python in ("python", "python3.11", sys.executable):
        for rest in (["train.py"], ["-m", "train"], ["-c", "pass"], []):
            if python == "python3.11" and not any(
                os.access(os.path.join(path, python), os.X_OK) for path in os.environ["PATH"].split(os.pathsep)
            ):
                continue
            with pytest.raises(ConfigError, match=f"starts Python with -{letter}, .* leave -{letter} out"):
                checked([python, *options.split(), *rest])


@pytest.mark.parametrize(
    "words",
    ["train.py -I -E", "-u train.py -S", "-m train -E", "-c pass -I", "-W error::E train.py", "-X E -B train.py", "- -I", "-s train.py"],
)  # fmt: skip
def test_options_of_the_script_are_its_own(folder, words):
    assert checked(["python", *words.split()]) == [sys.executable, *words.split()]


def test_a_first_line_is_looked_at_too(folder):
    for line in ("#!/usr/bin/python3 -E", "#!/usr/bin/env -S python3 -u -I", "#! /usr/bin/env python -S"):
        executable(folder / "tool", f"{line}\nprint(1)\n")
        with pytest.raises(ConfigError, match="the first line of ./tool starts Python with"):
            checked(["./tool"])
    for line in ("#!/bin/sh -E", "#!/usr/bin/env python3", "#!/usr/bin/python3 -u", ""):
        executable(folder / "tool", f"{line}\n")
        assert checked(["./tool"]) == ["./tool"]


def test_what_cannot_be_run_says_what_to_write(folder):
    (folder / "script").write_text("#!/usr/bin/env python3\n")
    (folder / "program").write_bytes(b"\x7fELF")
    for command, sentence in {
        "./train.py": "is a file that cannot be executed; write `python ./train.py`",
        "train.py": "is looked for on PATH: a file of this folder is ./train.py; write `python train.py`",
        "./script": "write `python ./script`",
        "./program": "chmod .x ./program",
        ".": "is a folder; name a program",
        "no-such": "does not exist",
        "python none.py": "the script 'none.py' does not exist",
        "python -u -W ignore none.py": "the script 'none.py' does not exist",
    }.items():
        with pytest.raises(ConfigError, match=sentence):
            checked(command.split())


def test_our_own_commands_that_attach_are_not_run_inside(folder):
    executable(folder / "sparse-plugin", "#!/bin/sh\n")
    for words in (["./sparse-plugin", "train", "dcgan"], ["python", "-m", "sparse_plugin", "restore", "denoise"]):
        with pytest.raises(ConfigError, match="attaches by itself, as its own options say"):
            checked(words)
    for words in (["./sparse-plugin", "run", "--", "true"], ["./sparse-plugin"], ["python", "-m", "sparse_plugin", "list"]):
        assert checked(words)[1:] == words[1:]


def test_what_the_system_would_not_start(folder):
    executable(folder / "bare", "import torch\nprint(torch)\n")
    executable(folder / "windows", "#!/usr/bin/no-python\r\nprint(1)\n")
    done = sparse_plugin(*ON, "./bare", "--lr", "a b", cwd=folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "has no first line `#!...`" in done.stderr and "write `python ./bare --lr 'a b'`" in done.stderr
    done = sparse_plugin(*ON, "./windows", cwd=folder)
    assert done.returncode == 2 and "names no interpreter" in done.stderr and "write `python ./windows`" in done.stderr


def verdict(*events, regularizer="l0", **own):
    config = SparsityConfig.from_mapping({"regularizer": regularizer, "k": 1, **own})
    return journal.verdict(list(events), config)


def test_a_plugin_that_was_in_no_process_is_told_from_a_generator_that_was_not_built():
    text, failed = verdict()
    assert failed and "the plugin was on in no Python process" in text and "-I, -E or -S" in text
    text, failed = verdict({"on": "python"})
    assert failed and "no generator of a known host (" in text
    text, failed = verdict({"on": "python"}, {"lost": "/tmp/x"})
    assert failed and "NOT KNOWN WHETHER" in text and "/tmp/x" in text
    assert verdict({"lost": "/tmp/x"}, {"effective": "c5"}) == ("", False)


@pytest.mark.parametrize("command", ["exit 5", "kill -TERM $$", "python -c 'raise KeyError(1)'"])
def test_what_failed_is_not_told_that_nothing_was_regularized(folder, command):
    done = sparse_plugin(*ON, "sh", "-c", command, cwd=folder)
    assert done.returncode in (5, -15, 1) and "NOTHING" not in done.stderr


def test_python_behind_a_shell_that_keeps_the_plugin_out_is_a_failure(folder):
    done = sparse_plugin(*ON, "sh", "-c", f"{sys.executable} -E train.py", cwd=folder)
    assert (done.returncode, done.stdout) == (3, "ran\n")
    assert "the plugin was on in no Python process of this run" in done.stderr


def test_an_interpreter_without_the_plugin_stops_at_once(folder):
    """What PYTHONNOUSERSITE does to an installation of the user's own: the launcher has it, the command has not."""
    (folder / "hide").mkdir()
    (folder / "hide" / "sparse_plugin.py").write_text("raise ModuleNotFoundError('no sparse_plugin here')\n")
    hidden = ["env", f"PYTHONPATH={{boot}}{os.pathsep}{folder / 'hide'}", sys.executable, "train.py"]
    from sparse_plugin.hosts.environment import BOOT

    command = [word.format(boot=BOOT) for word in hidden]
    done = sparse_plugin(*ON, *command, cwd=folder)
    assert done.returncode == 2 and not done.stdout
    assert "not on in" in done.stderr and "PYTHONNOUSERSITE" in done.stderr
    # A tool that the command calls goes on.
    done = sparse_plugin(*ON, "sh", "-c", " ".join(f"'{word}'" for word in command) + "; true", cwd=folder)
    assert (done.returncode, done.stdout) == (3, "ran\n") and "not on in" in done.stderr


def test_a_journal_survives_what_happens_to_its_folder(folder, monkeypatch):
    with journal.gathering() as place:
        monkeypatch.setenv(journal.STATUS, str(place))
        ours = journal.Journal()
        ours.note("attached", "x")
        with journal.gathering() as inner:  # of a launcher inside this one
            assert place in inner.parents
            monkeypatch.setenv(journal.STATUS, str(inner))
            journal.Journal().note("effective", "y")
        assert {"attached": "x"} in journal.gathered(place) and {"effective": "y"} in journal.gathered(place)
        monkeypatch.setenv(journal.STATUS, str(place))
        for file in place.rglob("*.jsonl"):
            file.unlink()
        (place / "run").unlink()
        assert journal.gathered(place) == [{"lost": str(place)}]
        ours.close()
        assert {"attached": "x"} in journal.gathered(place)
        (place / f"{os.getpid()}.jsonl").unlink()
        (place / f"{os.getpid()}.jsonl").mkdir()  # as a full disk, it cannot be written
        ours.note("effective", "z")
        (place / f"{os.getpid()}.jsonl").rmdir()
        ours.close()
        assert {"effective": "z"} in journal.gathered(place)

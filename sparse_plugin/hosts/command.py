"""The command that the launcher is given: whether it can run, and whether the plugin can come into it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sparse_plugin.errors import ConfigError

# Options of the interpreter that keep PYTHONPATH, by which the plugin comes in, or sitecustomize out of a process.
_SHUTTING = {"I": "isolates it from PYTHONPATH", "E": "ignores PYTHONPATH", "S": "leaves out sitecustomize"}


def checked(command: Sequence[str]) -> list[str]:
    """command as it is run: `python` means the interpreter that runs this.

    Raises ConfigError for one that cannot be run, a script that is not there, or an interpreter told to keep the plugin out.
    """
    command = list(command)
    if not command:
        raise ConfigError(
            "no command is given; write it after --, as in `sparse-plugin run --sparse l1 -- python train.py`"
        )
    if command[0] in ("python", "python3"):
        command[0] = sys.executable
    program = shutil.which(command[0])
    if program is None:
        raise ConfigError(_no_program(command[0]))
    _refuse_own(command)
    interpreter = [] if is_python(command[0]) else _shebang(program)
    if interpreter:
        _options(interpreter, f"the first line of {command[0]}")
    elif is_python(command[0]):
        script = _options(command, "the command")
        if script is not None and not os.path.exists(script):
            raise ConfigError(f"the script {script!r} does not exist")
    return command


def _refuse_own(command: Sequence[str]) -> None:
    """Refuse those of our own commands that attach by themselves: they would find their generator attached already."""
    words = list(command[1:] if Path(command[0]).stem == "sparse-plugin" else command[3:])
    ours = Path(command[0]).stem == "sparse-plugin" or list(command[1:3]) == ["-m", "sparse_plugin"]
    if ours and words[:1] and words[0] in ("train", "restore", "experiment", "tune", "demo"):
        raise ConfigError(
            f"`sparse-plugin {words[0]}` attaches by itself, as its own options say; run it without `sparse-plugin run`"
        )


def is_python(program: str) -> bool:
    """Whether program is a Python interpreter, by its name."""
    return program == sys.executable or bool(re.fullmatch(r"(python|pypy)w?[\d.]*(\.exe)?", Path(program).name.lower()))


def not_started(command: Sequence[str], error: OSError) -> str:
    """The sentence for a command that the system would not start."""
    program = shutil.which(command[0]) or command[0]
    first = _first_line(program)
    words = shlex.join(["python", *command])
    if first.startswith("#!"):
        reason = f"its first line, {first.rstrip()!r}, names no interpreter that can be started"
    else:
        reason = "it is no program, and has no first line `#!...` that says what runs it"
    if not isinstance(error, (FileNotFoundError, PermissionError)) and error.errno != 8:  # ENOEXEC
        reason = error.strerror or str(error)
    return f"{command[0]} cannot be started: {reason}; where it is Python, write `{words}`"


def _no_program(name: str) -> str:
    path = Path(name)
    if path.is_dir():
        return f"the command {name!r} is a folder; name a program, as in `python {path / 'train.py'}`"
    if path.is_file():
        how = (
            f"write `python {name}`"
            if path.suffix == ".py" or "python" in _first_line(name)
            else f"make it executable, as in `chmod +x {name}`"
        )
        where = "" if os.path.dirname(name) else f", and is looked for on PATH: a file of this folder is ./{name}"
        return f"the command {name!r} is a file that cannot be executed{where}; {how}"
    return f"the command {name!r} does not exist or cannot be executed"


def _first_line(program: str) -> str:
    try:
        with open(program, "rb") as file:
            return file.readline(512).decode("utf-8", "replace")
    except OSError:
        return ""


def _shebang(program: str) -> list[str]:
    """The Python interpreter and its options that a script's first line names; [] where it names none."""
    first = _first_line(program)
    if not first.startswith("#!"):
        return []
    words = first[2:].split()
    while words and (Path(words[0]).name == "env" or words[0] == "-S" or "=" in words[0]):
        words = words[1:]
    return words if words and is_python(words[0]) else []


def _options(words: Sequence[str], where: str) -> str | None:
    """The script behind an interpreter's options; None where it is given code, a module or its standard input.

    Raises ConfigError for an option that keeps the plugin out.
    """
    rest = iter(words[1:])
    for word in rest:
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(rest, None)
            continue
        if not word.startswith("-") or word == "-":
            return None if word == "-" else word
        for at, letter in enumerate(word[1:], 2):
            if letter in _SHUTTING:
                raise ConfigError(
                    f"{where} starts Python with -{letter}, which {_SHUTTING[letter]}, and the plugin comes in that way: it "
                    f"would not be on; leave -{letter} out"
                )
            if letter in "cm":
                return None
            if letter in "WXQ":
                if not word[at:]:
                    next(rest, None)
                break
    return None

"""Whether a command line that a page shows would be taken: by our own command's parsers, the Makefile, pyproject's extras."""

from __future__ import annotations

import importlib
import re
import shlex

import click
from pages import ROOT

if not (tomllib := importlib.util.find_spec("tomllib")):
    tomllib = importlib.util.find_spec("tomli")
tomllib = importlib.import_module(tomllib.name)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMAND = importlib.import_module(PROJECT["scripts"]["sparse-plugin"].partition(":")[0]).cli
TARGETS = set(re.findall(r"(?m)^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8")))
# What belongs to the shell, or to others.
FOREIGN = {".", "cd", "pre-commit", "echo", "export", "git", "ls", "mkdir", "cp", "cat", "head"}


def fault(line: str, files: set[str]) -> str:
    """What is wrong with a command line, in words; "" where nothing is. files: what the page writes itself."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return f"{line}: {error}"
    for cut in ("&&", "||", ";", "|"):
        if cut in words:
            at = words.index(cut)
            return fault(shlex.join(words[:at]), files) or fault(shlex.join(words[at + 1 :]), files)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if not words:
        return ""
    program, *rest = words
    if program == "sparse-plugin":
        return ours(rest)
    if program == "make":
        return next((f"no target {word}" for word in rest if "=" not in word and word not in TARGETS), "")
    if program == "torchrun":
        return ours(rest[rest.index("sparse_plugin") + 1 :])
    if program in ("python", "python3"):
        return python(rest, files)
    if program == "pip":
        asked = [name for word in rest for name in re.findall(r"(?:^\.|sparse-plugin)\[([\w,]+)\]", word)]
        extras = {extra for names in asked for extra in names.split(",")}
        return ", ".join(sorted(f"no extra {extra}" for extra in extras - set(PROJECT["optional-dependencies"])))
    return "" if program in FOREIGN or program.startswith(".venv/bin/") else f"nobody knows what {program} is"


def python(rest: list[str], files: set[str]) -> str:
    if rest[:2] == ["-m", "sparse_plugin"]:
        return ours(rest[2:])
    if not rest or rest[0].startswith("-") or rest[0] in files or (ROOT / rest[0]).exists():
        return ""
    return f"{rest[0]} is neither in the repository nor on the page"


def ours(words: list[str]) -> str:
    """What click would say of these words; values of choices included, files that need to exist not."""
    command: click.Command = COMMAND
    context = click.Context(command, info_name="sparse-plugin")
    words = [word for word in words if word != "..."]
    while isinstance(command, click.Group):
        if not words or words[0] in ("-h", "--help", "--version"):
            return ""
        child = command.get_command(context, words[0])
        if child is None:
            return f"there is no command {words[0]}"
        command, context = child, click.Context(child, info_name=words.pop(0), parent=context)
    try:
        given, _, _ = command.make_parser(context).parse_args(list(words))
        for parameter in command.params:
            if isinstance(parameter.type, click.Choice):
                parameter.type_cast_value(context, given.get(parameter.name))
    except click.UsageError as error:
        return error.format_message()
    return ""

"""Settings as people write them: a section of a YAML or TOML file, and KEY=VALUE on a command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sparse_plugin.errors import ConfigError, path_of, shown
from sparse_plugin.support.files import content, reason

VERSION = 1

# What stands under these keys is text, whatever else YAML would take it for: of modules called 1.10 and on there are many.
_TEXT = ("sites", "imports", "run_dir", "host", "adapter", "generator", "discriminator")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3, without a point, as a word."""


_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class _MisreadError(yaml.YAMLError):
    """A key that surely means something else than YAML makes of it."""


class _StrictLoader(_Loader):
    """Refuses a key that stands twice in one mapping, of which YAML would pass over the first, and {auto:0.5}, in which it sees
    a key `auto:0.5` without a value.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            line = key.start_mark.line + 1
            name, colon, rest = key.value.partition(":")
            if node.flow_style and colon and key.style is None and isinstance(value, yaml.ScalarNode) and not value.value:
                raise _MisreadError(f"{key.value!r} in line {line} is one word to YAML; write a space after its colon, '{name}: {rest}'")
            if key.value in lines:
                where = f"in line {line}" if lines[key.value] == line else f"in lines {lines[key.value]} and {line}"
                raise _MisreadError(f"the key {key.value!r} stands there twice, {where}; leave one of them out")
            lines[key.value] = line
        return node


def load_yaml(text: str | bytes, loader: type[yaml.SafeLoader] = _Loader) -> Any:
    """The value of a YAML text. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=loader)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # of dates, long numbers, deep brackets
        raise yaml.YAMLError(reason(error)) from None


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping under `sparse` in a YAML or TOML file."""
    path = Path(path_of(path, "the config file"))
    try:
        text = content(path).decode()
    except (OSError, ValueError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason(error)
        raise ConfigError(f"the config file {path} cannot be read: {why}") from None
    toml = path.suffix.lower() == ".toml"
    try:
        whole = _toml(text) if toml else load_yaml(text, _StrictLoader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        if "escape" in line:
            line += "; a path with backslashes stands in single quotes"
        raise ConfigError(f"the config file {path} is malformed: {line}") from None
    written = _words(text) if not toml else {}
    whole, written = _joined(whole, path), _joined(written, path)
    if not isinstance(whole, dict) or not isinstance(whole.get("sparse"), dict):
        raise ConfigError(
            f"the config file {path} has no section `sparse:` with keys in it; write one with `regularizer: ...`"
        )
    version = whole.get("version", VERSION)
    if version != VERSION:
        raise ConfigError(
            f"the config file {path} is of version {shown(version)}; this sparse_plugin reads version {VERSION}"
        )
    section: dict[str, Any] = whole["sparse"] if toml else _as_text(whole["sparse"], written.get("sparse"))
    return located(section, path.parent)


def _joined(whole: Any, path: Path) -> Any:
    """whole with a list of two sections, one a network, as one section that has the other beside it."""
    sections = whole.get("sparse") if isinstance(whole, dict) else None
    if not isinstance(sections, list) or not all(isinstance(section, dict) for section in sections):
        return whole
    if not 1 <= len(sections) <= 2:
        raise ConfigError(
            f"the config file {path} lists {len(sections)} sections under `sparse:`; give one for the generator and one with "
            "`role: discriminator`"
        )
    return {**whole, "sparse": {**sections[0], **({"beside": sections[1]} if len(sections) == 2 else {})}}


def located(section: dict[str, Any], folder: str | os.PathLike[str]) -> dict[str, Any]:
    """A section as it stands in a file of folder: files that it imports are looked for there, then in the working folder."""
    named = section.get("imports")
    listed = [named] if isinstance(named, str) else named
    if isinstance(section.get("beside"), dict):
        section = {**section, "beside": located(section["beside"], folder)}
    if not isinstance(listed, list):
        return section
    return {**section, "imports": [_located(name, Path(folder)) for name in listed]}


def _located(name: Any, folder: Path) -> Any:
    if not isinstance(name, str) or not name.endswith(".py"):
        return name
    for spelt in (name, name.replace("\\", "/")):  # as on Windows
        for place in (folder / spelt, Path(spelt)):
            if place.is_file():
                return os.path.abspath(place)
    return os.path.abspath(folder / name)


def _words(text: str) -> Any:
    """A YAML text with every scalar as it is written."""
    whole = yaml.load(text, Loader=yaml.BaseLoader)
    return whole if isinstance(whole, dict) else {}


def _as_text(section: dict[str, Any], words: Any) -> dict[str, Any]:
    """section, with what is text there taken from words, which is the same as written."""
    if not isinstance(words, dict):
        return section
    return {key: _read(key, value, words.get(key, value)) for key, value in section.items()}


def _read(key: str, value: Any, words: Any) -> Any:
    """A value as it is meant: of a section inside, as of one of several regularizers, likewise."""
    if isinstance(value, dict):
        return _as_text(value, words)
    return _written(value, words) if key in _TEXT else value


def _written(value: Any, words: Any) -> Any:
    if isinstance(value, list) and isinstance(words, list) and len(value) == len(words):
        return [_written(each, word) for each, word in zip(value, words, strict=True)]
    return words if value is not None and isinstance(words, str) else value


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def assign(mapping: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """mapping with assignments such as `sparse.k=16` or `sparse.l1.weight=0.1` made, values read as YAML.

    Raises ConfigError for other forms.
    """
    for text in assignments:
        key, equals, value = text.partition("=")
        section, *keys = key.strip().split(".")
        if not equals or section != "sparse" or not keys or not all(each.isidentifier() for each in keys):
            raise ConfigError(f"--set takes sparse.KEY=VALUE, as in sparse.k=16; {text!r} was given")
        try:
            read_as = load_yaml(value, _StrictLoader)
            words = yaml.load(value, Loader=yaml.BaseLoader)
        except _MisreadError as error:
            raise ConfigError(f"--set {key}: {value!r}: {error}") from None
        except yaml.YAMLError:
            raise ConfigError(f"--set {key}: {value!r} is no YAML value; quote it") from None
        mapping = _assigned(mapping, keys, _read(keys[-1], read_as, words), key)
    return mapping


def _assigned(mapping: dict[str, Any], keys: list[str], value: Any, written: str) -> dict[str, Any]:
    """mapping with value under keys, one inside the other."""
    first, *rest = keys
    if not rest:
        return {**mapping, first: value}
    inner = mapping.get(first, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"--set {written} is given, and {first} is {shown(inner)}, with nothing inside; set {first} as a whole")
    return {**mapping, first: _assigned(inner, rest, value, written)}


def path_text(value: Any, key: str) -> Any:
    """A path as text: of a file, or of a module inside a generator. Raises ValueError where it was surely another."""
    if isinstance(value, float):
        raise ValueError(f"{key} is {value!r}, a number; put a path with a point in quotes, as in '{value!r}'")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and any(ord(character) < 32 for character in value):
        raise ValueError(
            f"{key} is {value!r}, with characters that no path has; in YAML and TOML a path with backslashes stands in single "
            "quotes, or has / instead"
        )
    return value

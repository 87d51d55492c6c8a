"""Generators of other codebases, named on the command line: built, and what one forward of them takes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from sparse_plugin.config import SparsityConfig, load_yaml
from sparse_plugin.errors import ConfigError, shown
from sparse_plugin.hosts.session import Session
from sparse_plugin.support.files import reason
from sparse_plugin.support.user_files import import_named


def build(generator: str, arguments: Sequence[str], imports: Sequence[str] = (), factory: bool = False) -> nn.Module:
    """The module that "module:Class" makes of arguments. Raises ConfigError where it cannot be imported or built.

    factory: whether it names a function that returns a module, as the user says: nothing else is called that is no class of modules.
    """
    sys.path.insert(0, os.getcwd())  # as for a script that stands there
    for name in imports:
        import_named(name)
    # Hosts that need help to be imported get it; nothing is attached.
    session = Session(SparsityConfig(enabled=False))
    session.start()
    try:
        module, _, name = generator.partition(":")
        cls = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise ConfigError(f"{generator!r} cannot be imported: {_said(error)}; write module:Class") from None
    finally:
        session.stop()
    # Asked before it is called: what is no class of modules may do anything.
    if factory and (isinstance(cls, type) or not callable(cls)):
        raise ConfigError(f"{generator} is no function, but {shown(cls)}; a factory is a function that returns the generator")
    if not factory and (not isinstance(cls, type) or not issubclass(cls, nn.Module)):
        raise ConfigError(f"{generator} is no torch.nn.Module class, but {shown(cls)}; name the generator's class")
    positional, keywords = _arguments(arguments)
    try:
        made = cls(*positional, **keywords)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{generator} cannot be built: {_said(error)}; give its arguments by --arg") from None
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{generator} returns {shown(made)}, and no generator; name a function that returns a torch.nn.Module")
    return made


def _said(error: BaseException) -> str:
    return (
        str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {reason(error)}"
    )


def input_shapes(generator: nn.Module, given: Sequence[str], count: int, name: str) -> tuple[str, ...]:
    """The shapes of what one forward takes: those given, else noise of the generator's own nz or latent_dim, count times.

    Raises ConfigError where nothing is given and the generator has neither.
    """
    if given:
        return tuple(given)
    size = getattr(generator, "nz", None) or getattr(generator, "latent_dim", None)
    if not size:
        raise ConfigError(f'{name} needs an input to be run: give its shape, as in --input "{count}x128"')
    return (f"{count}x{size}",)


def draw(text: str, count: int | None = None) -> Tensor:
    """A random tensor of shape `4x128`, or labels for `4:int<10`; with count instead of the first side.

    Raises ConfigError for another form.
    """
    try:
        size, kind = sides(text), text.partition(":")[2]
        if count is not None:
            size[0] = count
        if not kind:
            return torch.randn(size)
        if kind.startswith("int<"):
            return torch.randint(int(kind[4:]), size)
    except (ValueError, RuntimeError, TypeError, OverflowError):
        pass
    raise ConfigError(f'--input {text!r} is no shape; write "4x128", or "4:int<10" for labels below 10')


def sides(text: str) -> list[int]:
    """The sides of a shape, of `4x128` or `4:int<10`. Raises ConfigError for another form."""
    try:
        size = [int(side) for side in text.partition(":")[0].split("x")]
    except ValueError:
        size = []
    if not size or min(size) < 1:
        raise ConfigError(f'--input {text!r} is no shape; write "4x128", or "4:int<10" for labels below 10')
    return size


def _arguments(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        named = equals and key.isidentifier()
        try:
            read = load_yaml(value if named else text)
        except yaml.YAMLError:
            raise ConfigError(f"--arg {shown(text)} is no YAML value; quote it, as in --arg 'name=\"[\"'") from None
        if named:
            keywords[key] = read
        else:
            positional.append(read)
    return positional, keywords

"""Looking at a generator that can be imported: what `sparse-plugin sites` prints."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from sparse_plugin.errors import ConfigError


def inspect(
    generator: str, arguments: Sequence[str], inputs: Sequence[str], imports: Sequence[str] = ()
) -> dict[str, Any]:
    """Build the class that "module:Class" names, run it once, and tell what ran and where Γ would be read.

    Raises ConfigError for a class that cannot be imported or built, or an input it does not take.
    """
    from torch import nn

    from sparse_plugin import adapters, detection, sites
    from sparse_plugin.config import SparsityConfig
    from sparse_plugin.imports import load
    from sparse_plugin.session import Session

    sys.path.insert(0, os.getcwd())  # as for a script that stands there
    for name in imports:
        load(name)
    # Hosts that need help to be imported get it; nothing is attached.
    session = Session(SparsityConfig(regularizer="l0", enabled=False))
    session.start()
    try:
        module, _, name = generator.partition(":")
        try:
            cls = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{generator!r} cannot be imported: {error}; write module:Class") from None
        session.stop()
        positional, keywords = _arguments(arguments)
        try:
            made = cls(*positional, **keywords)
        except Exception as error:
            raise ConfigError(
                f"{generator} cannot be built: {type(error).__name__}: {error}; give its arguments by --arg"
            ) from None
    finally:
        session.stop()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{generator} is no torch.nn.Module")
    shapes = inputs or [
        f"2x{size}" for size in (getattr(made, "nz", None) or getattr(made, "latent_dim", None),) if size
    ]
    if not shapes:
        raise ConfigError(f'{generator} needs an input to be run once: give its shape, as in --input "2x128"')
    try:
        found = detection.trace(made, *map(_input, shapes))
    except Exception as error:
        raise ConfigError(f"{generator} does not run on {', '.join(shapes)}: {type(error).__name__}: {error}") from None
    known = adapters.find(made, None)
    site, why = found.site, found.why
    if known is not None:
        site, why = known.sites(made)[0], f"adapter {known.name}"
    return {
        "generator": type(made).__name__,
        "image": sites.shape(found.image),
        "site": None if site is None else str(site),
        "why": why,
        "candidates": [
            {
                "path": c.path or "(root)",
                "kernel": c.kernel,
                "input": sites.shape(c.gamma),
                "output": sites.shape(c.output),
                "calls": c.calls,
                "density": round(c.density, 3),
                "verdict": c.verdict,
            }
            for c in found.candidates
        ],
    }


def _arguments(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    positional, keywords = [], {}
    for text in texts:
        key, equals, value = text.partition("=")
        if equals and key.isidentifier():
            keywords[key] = yaml.safe_load(value)
        else:
            positional.append(yaml.safe_load(text))
    return positional, keywords


def _input(text: str) -> Any:
    """A random tensor for `4x128`, or labels for `4:int<10`."""
    import torch

    shape, _, kind = text.partition(":")
    try:
        size = [int(side) for side in shape.split("x")]
        if not kind:
            return torch.randn(size)
        if kind.startswith("int<"):
            return torch.randint(int(kind[4:]), size)
    except ValueError:
        pass
    raise ConfigError(f'--input {text!r} is no shape; write "4x128", or "4:int<10" for labels below 10')

"""The errors of sparse_plugin: one sentence each, that says what was given, what was expected and what to do.

Each is also the built-in that a caller would expect to catch.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches


class SparsePluginError(Exception):
    """The root of every error that sparse_plugin raises on purpose."""

    exit_code = 2  # of the command line: a mistake in what was asked


class ConfigError(SparsePluginError, ValueError):
    """A setting, a name, a file or a version that is not valid."""


class SiteError(SparsePluginError, ValueError):
    """A representation that cannot be found, is not where it was said to be, or is not used as expected."""


class GammaError(SparsePluginError, TypeError):
    """A tensor that is not a representation Γ: of an integer or complex type, with too few dimensions, or no fit result of a projection."""


class AttachmentError(SparsePluginError, RuntimeError):
    """A generator that is attached already, is not attached, or is used in a way its attachment cannot follow."""


class PenaltyError(SparsePluginError, RuntimeError):
    """A penalty that would not reach the generator's loss exactly once, or is no term of a loss."""


class CheckpointError(SparsePluginError, RuntimeError):
    """A checkpoint written under other settings than those it is loaded into."""


class ForwardError(SparsePluginError, RuntimeError):
    """A generator that does not run on what it was given: its own error is the cause."""


class OutputError(SparsePluginError, OSError):
    """A file that could not be written: the disk is full, which exits 1, or it is no place to write to, which exits 2."""

    exit_code = 1


class DivergedError(SparsePluginError, ArithmeticError):
    """A loss or a weight that is no longer a finite number."""

    exit_code = 1


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


def shown(value: object) -> str:
    """value as it stands in a sentence: what it is written as in Python, of any size and depth, cut where it is long."""
    try:
        return " ".join(_SHORT.repr(value).split("\n"))
    except Exception:  # an int of too many digits; an object whose own repr fails
        return f"a value of type {type(value).__name__} that cannot be printed"


def module_of(value: object, what: str) -> None:
    """Raises ConfigError unless value is a torch.nn.Module, naming what takes it."""
    from torch import nn

    if not isinstance(value, nn.Module):
        kind = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise ConfigError(f"the generator is {kind}; {what} takes a torch.nn.Module")


def path_of(value: object, what: str) -> str:
    """The path that somebody gave for what. Raises ConfigError for what is none."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"{what} is {shown(value)}; give a path")
    return text


def one_of(what: str, given: str, known: Iterable[str]) -> str:
    """The sentence for an unknown name: what was given, what exists, and the nearest match.

    >>> one_of("regularizer", "l0inf", ["l0", "l0_inf", "l1"])
    "there is no regularizer 'l0inf'; there are l0, l0_inf, l1. Did you mean 'l0_inf'?"
    """
    names = sorted(known)
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    return f"there is no {what} {shown(given)}; there are {', '.join(names) if names else 'none'}." + (
        f" Did you mean {near[0]!r}?" if near else ""
    )

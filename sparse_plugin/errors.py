"""The errors of sparse_plugin: one sentence each, that says what was given, what was expected and what to do.

Each is also the built-in that a caller would expect to catch.
"""

from __future__ import annotations

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
    """A tensor that is not a representation Γ: of an integer or complex type, or with too few dimensions."""


class AttachmentError(SparsePluginError, RuntimeError):
    """A generator that is attached already, is not attached, or is used in a way its attachment cannot follow."""


class PenaltyError(SparsePluginError, RuntimeError):
    """A penalty that would not reach the generator's loss exactly once."""


class CheckpointError(SparsePluginError, RuntimeError):
    """A checkpoint written under other settings than those it is loaded into."""


class OutputError(SparsePluginError, OSError):
    """A file that could not be written: the disk is full, which exits 1, or it is no place to write to, which exits 2."""

    exit_code = 1


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


def shown(value: object) -> str:
    """value as it stands in a sentence: what it is written as in Python, of any size and depth, cut where it is long."""
    try:
        return _SHORT.repr(value)
    except Exception:  # an int of too many digits; an object whose own repr fails
        return f"a value of type {type(value).__name__} that cannot be printed"


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

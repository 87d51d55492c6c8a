"""Packages that only some commands need, and which extra brings them."""

from __future__ import annotations

from importlib.util import find_spec

from sparse_plugin.errors import ConfigError


def need(what: str, extra: str, *modules: str) -> None:
    """Raise ConfigError unless all modules, which what needs, can be imported: the sentence says how to install them.

    >>> need("reading parquet", "data", "no_such_package")
    Traceback (most recent call last):
    sparse_plugin.errors.ConfigError: reading parquet needs no_such_package, not installed here; run `pip install 'sparse-plugin[data]'`
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what} needs {', '.join(missing)}, not installed here; run `pip install 'sparse-plugin[{extra}]'`"
        )

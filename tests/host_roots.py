"""Where the code of a host is: a real checkout under $SPARSE_PLUGIN_HOSTS if it has one, else the stand-in in tests/stand_ins."""

import os
from pathlib import Path

# The hosts' folders and scripts that the running test has driven.
driven: set[str] = set()

STAND_INS = Path(__file__).parent / "stand_ins"


def is_real(name: str) -> bool:
    """Whether `owner+repository` is a checkout of the real code."""
    checkouts = os.environ.get("SPARSE_PLUGIN_HOSTS")
    return bool(checkouts) and (Path(checkouts) / name).is_dir()


def root(name: str) -> Path:
    """The folder of `owner+repository`."""
    folder = Path(os.environ["SPARSE_PLUGIN_HOSTS"]) / name if is_real(name) else STAND_INS / name
    if not folder.is_dir():
        raise FileNotFoundError(f"no host {name!r}: neither under $SPARSE_PLUGIN_HOSTS nor in {STAND_INS}")
    return folder.resolve()

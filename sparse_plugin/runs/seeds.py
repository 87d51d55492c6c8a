"""Random seeds that are functions of what they are for."""

from __future__ import annotations

import hashlib


def key(*parts: int | str) -> int:
    """A random seed that is a function of parts, and different for different ones."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")

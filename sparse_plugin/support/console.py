"""What is said to people beside a program's own output."""

from __future__ import annotations

import sys
from contextlib import suppress


def say(text: str) -> None:
    """One line on stderr; nothing where there is no such stream any more."""
    with suppress(OSError, ValueError, AttributeError):
        print(f"sparse_plugin: {text}", file=sys.stderr, flush=True)

"""What this process has seen of the leases of others, by a clock of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The content of a lease, and when its disk says it was written; compared with earlier ones of itself alone.
Sign = tuple[bytes, int]
# Of leases by their paths: the latest sign, seconds since it was first seen, whether there was another before.
Seen = dict[str, tuple[Sign, float, bool]]


@dataclass
class Watch:
    """When the latest sign of life of each lease was first seen.

    The clock counts no time in which this host sleeps, nor is it ever set.
    """

    _seen: Seen = field(default_factory=dict)

    def see(self, path: Path, sign: Sign) -> tuple[float, bool]:
        """A lease as it is now. Returns for how many seconds it was seen like that, and whether it ever was otherwise."""
        now, key = time.monotonic(), os.path.abspath(path)
        latest, since, changed = self._seen.get(key, (sign, now, False))
        if latest != sign:
            since, changed = now, True
        self._seen[key] = sign, since, changed
        return now - since, changed

    def forget(self, path: Path) -> None:
        """A lease that is gone."""
        self._seen.pop(os.path.abspath(path), None)

    def told(self) -> Seen:
        """What another process may go on from; `believe` takes it there."""
        now = time.monotonic()
        return {path: (sign, now - since, changed) for path, (sign, since, changed) in list(self._seen.items())}

    def believe(self, told: Mapping[str, tuple[Sign, float, bool]]) -> None:
        """Go on from what another process has seen, of leases that this one has not."""
        now = time.monotonic()
        for path, (sign, seconds, changed) in told.items():
            self._seen.setdefault(path, (sign, now - seconds, changed))


WATCH = Watch()

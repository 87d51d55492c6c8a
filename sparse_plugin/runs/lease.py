"""A lease of a directory: who is at work in it, as a file that its owner rewrites.

Unlike a lock of the operating system it works on file systems that keep locks per node, or have none, and in Windows.
Each lease is a file of its own, `.lease.TOKEN`, that names the owner: host, process, when that process began. Every few
seconds the owner writes another number into it. Whoever wants the directory watches that, by a clock of its own that
nobody sets, so no two clocks have to agree, nor one with the disk's.

A process takes the directory if it finds no other lease after it made its own. Of two that meet one at least finds the
other's, so never both have it; who finds one withdraws, and tries again. A lease that was silent for too long, or whose
process is known to be gone, is deleted by who comes next. Its owner, if it comes back (it was suspended), finds it gone and
stops before it writes. Names are never used again, so nobody ever deletes, or takes for its own, a lease that it did not mean.
"""

from __future__ import annotations

import json
import math
import os
import random
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.runs.process import began, stopped, this_host
from sparse_plugin.runs.watch import WATCH, Sign
from sparse_plugin.support import progress

# What names begin with. One of that name alone is of a version before leases had tokens in their names.
FILE = ".lease"
# The environment variable of the seconds between two signs of life, what they are by default, and how many of them may fail to come.
VARIABLE, BEAT, MISSED = "SPARSE_PLUGIN_LEASE_SECONDS", 10.0, 12
# Without a sign of life for so long, in seconds, an owner counts as dead.
STALE = MISSED * BEAT
# Bytes of a lease; rewritten in place, it is never shorter.
_SIZE = 2048
# How often a directory is tried while others are trying, too.
_TRIES = 12


@dataclass(frozen=True)
class LeaseOwner:
    """host: see `this_host`. began: see `process.began`. token: of this lease alone."""

    host: str
    process: int
    began: str
    token: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host.partition(' ')[0]}"

    @property
    def alive(self) -> bool | None:
        """Whether it runs here, or did and is gone (another process may have its number by now); None where that cannot be
        told: of other hosts, and of a process that is suspended.
        """
        if not self.began or self.host != this_host():
            return None
        if began(self.process) != self.began:
            return False
        return None if stopped(self.process) else True


@dataclass(frozen=True)
class HeldLease:
    """A lease that somebody holds, or tries to. owner: None as long as it is being written. silent: seconds since this process
    last saw a sign of life, or first saw the lease. seen: whether it saw one. doing: what the owner says of its work.
    """

    path: Path
    owner: LeaseOwner | None
    silent: float
    seen: bool = False
    stale: float = STALE
    tried: bool = False
    doing: tuple[tuple[str, Any], ...] = ()

    @property
    def over(self) -> bool:
        """Whether it may be taken over."""
        alive = None if self.owner is None else self.owner.alive
        return self.silent > self.stale if alive is None else not alive

    @property
    def certain(self) -> bool:
        """Whether its owner has it, and is known to live, or to have lived while this process watched."""
        return not self.tried and (self.seen or (self.owner is not None and self.owner.alive is True))


class Lease:
    """The lease of a folder that is there. Made by `take`."""

    def __init__(self, path: Path, mine: LeaseOwner, every: float) -> None:
        self.path, self.mine, self.every = path, mine, every
        self._doing: dict[str, Any] = {}
        self._paces: deque[tuple[float, int]] = deque(maxlen=7)
        self._beats = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Path) -> Lease | HeldLease:
        """The lease, or one that another has. Raises OSError where the folder cannot be written to."""
        every = interval()
        mine = LeaseOwner(this_host(), os.getpid(), began(os.getpid()), secrets.token_hex(8))
        there: list[HeldLease] = []
        for attempt in range(_TRIES):
            there = [found for found in look(folder) if not found.over]
            if not there and (path := _claimed(folder, mine, every)) is not None:
                return cls(path, mine, every)
            if any(not found.tried for found in there):
                break
            time.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))  # those who meet do not meet again
        return there[0] if there else HeldLease(folder / FILE, None, 0.0)

    @property
    def lost(self) -> bool:
        """Whether another process took it over, or somebody deleted it: then this one must not write any more."""
        return _gone(self.path)

    def at(self, step: int, steps: int) -> None:
        """What the next sign of life says: so many steps of so many are done."""
        self._doing["step"], self._doing["steps"] = step, steps

    def release(self) -> None:
        """Give it back, if it is still this one's."""
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            self.path.unlink()

    def _renew(self) -> None:
        while not self._over.wait(self.every):
            self._beats += 1
            with suppress(OSError):  # a disk that fails now may not fail then
                _rewrite(self.path, _content(self.mine, self.every, beat=self._beats, **self._progress()))

    def _progress(self) -> dict[str, Any]:
        doing = {**self._doing, "moved": progress.moved()}
        if "step" in doing:
            self._paces.append((time.monotonic(), doing["step"]))
            (then, before), (now, step) = self._paces[0], self._paces[-1]
            if now > then and step > before:
                doing["pace"] = round((step - before) / (now - then), 4)
        return doing


def interval() -> float:
    """Seconds between two signs of life, as the environment says. Raises ConfigError for what is no such number."""
    text = os.environ.get(VARIABLE) or str(BEAT)
    with suppress(ValueError):
        if 0.01 <= (every := float(text)) <= 3600:
            return every
    raise ConfigError(f"the environment variable {VARIABLE} is {text!r}; give seconds from 0.01 to 3600, or leave it out")


def look(folder: Path) -> list[HeldLease]:
    """The leases of a folder, those that are held first. Raises OSError where it cannot be read."""
    found = []
    for name in _names(folder):
        path = folder / name
        sign = _sign(path)
        if sign is None:
            WATCH.forget(path)
            continue
        silent, seen = WATCH.see(path, sign)
        read = _parsed(sign[0])
        every = read.get("every")
        every = float(every) if isinstance(every, (int, float)) and 0 < every <= 3600 else BEAT
        doing = {key: read[key] for key in ("step", "steps", "pace", "moved") if _number(read.get(key))}
        found.append(HeldLease(path, _owner(read), silent, seen, MISSED * every, read.get("held") is False, tuple(doing.items())))
    return sorted(found, key=lambda each: each.tried)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith(FILE))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sign(path: Path) -> Sign | None:
    """What changes with every sign of life; None where there is no file. Of versions that only touch it, too."""
    try:
        with open(path, "rb") as file:  # opening it has a network disk ask its server
            return file.read(_SIZE), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    except OSError:  # Windows: one that is being deleted
        return b"", 0


def _parsed(content: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        read = json.loads(content)
        if isinstance(read, dict):
            return read
    return {}


def _owner(read: dict[str, Any]) -> LeaseOwner | None:
    with suppress(ValueError, KeyError, TypeError, OverflowError):
        return LeaseOwner(str(read["host"]), int(read["process"]), str(read["began"]), str(read["token"]))
    return None


def _content(mine: LeaseOwner, every: float, **more: Any) -> bytes:
    return json.dumps({**asdict(mine), "every": every, **more}).encode().ljust(_SIZE)


def _rewrite(path: Path, content: bytes) -> None:
    """Write into a file that is there: one that was deleted stays so. Raises FileNotFoundError, OSError."""
    with open(path, "r+b", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


def _gone(path: Path) -> bool:
    try:
        with open(path, "rb"):
            return False
    except FileNotFoundError:
        return True
    except OSError as error:  # a disk that fails now may not fail then, but a handle of what was deleted stays stale
        return error.errno == getattr(os, "ESTALE", 116)


def _claimed(folder: Path, mine: LeaseOwner, every: float) -> Path | None:
    """Make a lease; it is held if there is no other then but those that are over, which are deleted. None where there is."""
    path = folder / f"{FILE}.{mine.token}"
    held = False
    try:
        _create(path, _content(mine, every, held=False))
        others = [each for each in look(folder) if each.path != path]
        if all(each.over for each in others):
            for each in others:
                each.path.unlink(missing_ok=True)
            if _names(folder) == [path.name]:
                _rewrite(path, _content(mine, every))
                held = True
    except FileNotFoundError:  # this process was suspended meanwhile, and somebody deleted what it had made
        if not folder.exists():
            raise
    except PermissionError:  # Windows: somebody reads what is to be deleted
        if not path.exists():
            raise
    finally:
        if not held:
            with suppress(OSError):
                path.unlink()
    return path if held else None


def _create(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o644)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())

"""A lease of a directory: who is at work in it, as a file that its owner renews.

Unlike a lock of the operating system it works on file systems that keep locks per node, or have none, and in Windows.
The file names the owner: host, process and when that process began, and a token. Its modification time is the owner's
last sign of life, and is compared with that of a file written now in the same folder, so that no two clocks have to agree.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.runs.process import began, this_host

FILE = ".lease"

# Seconds between two signs of life; and without one, after which the owner counts as dead.
BEAT, STALE = 10.0, 120.0


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
        """Whether it runs here, or did and is gone (another process may have its number by now); None of other hosts."""
        return began(self.process) == self.began if self.began and self.host == this_host() else None


@dataclass(frozen=True)
class HeldLease:
    """A lease that somebody holds. owner: None as long as it is being written. silent: seconds since the last sign of life."""

    owner: LeaseOwner | None
    silent: float

    @property
    def over(self) -> bool:
        """Whether it may be taken over."""
        alive = None if self.owner is None else self.owner.alive
        return self.silent > STALE if alive is None else not alive


class Lease:
    """The lease of a folder that is there. Made by `take`."""

    def __init__(self, folder: Path, mine: LeaseOwner) -> None:
        self.path, self.mine = folder / FILE, mine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Path) -> Lease | HeldLease:
        """The lease, or whose it is. Raises OSError where the folder cannot be written to."""
        mine = LeaseOwner(this_host(), os.getpid(), began(os.getpid()), secrets.token_hex(8))
        path = folder / FILE
        if _created(path, mine):
            return cls(folder, mine)
        held = look(folder)
        if held is not None and not held.over:
            return held
        if held is not None and not _taken_over(path, held, mine):
            return look(folder) or held
        if held is None and not _created(path, mine):
            return look(folder) or HeldLease(None, 0.0)
        return cls(folder, mine)

    @property
    def lost(self) -> bool:
        """Whether another process took it over, or somebody deleted it: then this one must not write any more."""
        try:
            return _parsed(self.path.read_bytes()) != self.mine
        except FileNotFoundError:
            return True
        except OSError:  # a disk that fails now may not fail then
            return False

    def release(self) -> None:
        """Give it back, if it is still this one's."""
        self._over.set()
        self._thread.join()
        if not self.lost:
            with suppress(OSError):
                self.path.unlink()

    def _renew(self) -> None:
        while not self._over.wait(BEAT):
            if not self.lost:
                with suppress(OSError):
                    os.utime(self.path)


def look(folder: Path) -> HeldLease | None:
    """Who holds the lease of a folder. Raises OSError where the folder cannot be written to."""
    silent = _silent(folder / FILE)
    return None if silent is None else HeldLease(_owner(folder / FILE), silent)


def _silent(path: Path) -> float | None:
    """Seconds since a file was written, by the clock of its disk; None where there is none."""
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return None
    now = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    try:
        now.touch()
        return now.stat().st_mtime - written
    finally:
        with suppress(OSError):
            now.unlink()


def _owner(path: Path) -> LeaseOwner | None:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(content: bytes) -> LeaseOwner | None:
    try:
        read: dict[str, Any] = json.loads(content)
        return LeaseOwner(str(read["host"]), int(read["process"]), str(read["began"]), str(read["token"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _created(path: Path, mine: LeaseOwner) -> bool:
    """Create the lease, which of several processes one does. Returns whether it was this one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    except PermissionError:  # Windows: one that is being deleted as long as somebody reads it
        if os.path.lexists(path):
            return False
        raise
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(mine), file)
    except OSError:  # a full disk
        path.unlink()
        raise
    return True


def _taken_over(path: Path, held: HeldLease, mine: LeaseOwner) -> bool:
    """Replace a lease that is over by one's own, which of several processes one does. Returns whether it was this one."""
    turn = path.with_name(f"{FILE}.turn")
    waiting = _silent(turn)
    if waiting is not None and waiting > STALE:  # of a process that died in the few lines below
        with suppress(OSError):
            turn.unlink()
    if not _created(turn, mine):
        return False
    new = path.with_name(f"{FILE}.{mine.token}")
    try:
        now = look(path.parent)
        if now is None or now.owner != held.owner or not now.over:
            return False
        _created(new, mine)
        try:
            os.replace(new, path)
        except PermissionError:  # Windows: somebody reads it, who may be taking it over too
            return False
        return _owner(path) == mine
    finally:
        for left in (new, turn):
            with suppress(OSError):
                left.unlink()

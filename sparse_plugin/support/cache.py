"""Where compiled kernels are kept: a directory that is the user's alone, in files whose names say what must be in them.

A library is `<key>-<digest>.so`: the key stands for everything it was made from, the digest for its bytes, so one
atomic rename publishes both and a file that was changed or cut short no longer answers to its name.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

LENGTH = 32


class CacheError(Exception):
    """A cache directory that cannot be used; the message is the reason."""


def directory() -> Path:
    """$SPARSE_PLUGIN_CACHE, else sparse_plugin in $XDG_CACHE_HOME or ~/.cache; not created yet."""
    explicit = os.environ.get("SPARSE_PLUGIN_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sparse_plugin"


def open_directory() -> Path:
    """The directory, created where missing; `CacheError` unless it is the user's and nobody else can write it."""
    try:
        path = directory()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(path, folder=True)
    except (OSError, RuntimeError) as error:
        raise CacheError(str(error)) from error
    return path


def find(path: Path, key: str) -> tuple[Path | None, str]:
    """The library for `key` in the directory, and why one that is there was refused and removed ("" when none was)."""
    refusal = ""
    for candidate in sorted(path.glob(f"{key}-*.so")):
        try:
            _check_private(candidate, folder=False)
            if candidate.name == name(key, candidate.read_bytes()):
                return candidate, refusal
            refusal = f"{candidate} does not have the content that its name promises"
        except (OSError, CacheError) as error:
            refusal = str(error)
        try:
            candidate.unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"{refusal}, and cannot be removed: {error}") from error
    return None, refusal


def store(path: Path, key: str, content: bytes) -> Path:
    """Write a library so that other processes see all of it or nothing, or raise `CacheError`."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o700)
        target = path / name(key, content)
        try:
            os.replace(temporary, target)
        except PermissionError:  # Windows: another process made and loaded the very same meanwhile
            if not target.is_file() or target.read_bytes() != content:
                raise
            Path(temporary).unlink()
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise CacheError(str(error)) from error
    return target


def name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()[:LENGTH]}.so"


def _check_private(path: Path, folder: bool) -> None:
    status = path.lstat()  # a link is refused, wherever it leads
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(status.st_mode):
        raise CacheError(f"{path} is not a plain {'directory' if folder else 'file'}")
    if not hasattr(os, "getuid"):  # Windows, where a mode says nothing of others; the user's own folders are
        return
    if status.st_uid != os.getuid():
        raise CacheError(f"{path} belongs to user {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(f"{path} can be written by other users (mode {stat.filemode(status.st_mode)})")

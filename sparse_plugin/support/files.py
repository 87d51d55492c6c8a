"""Files: written whole or not at all, JSON by the line, and read as what somebody else may have made of them."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sparse_plugin.errors import CheckpointError, OutputError, SparsePluginError

log = logging.getLogger("sparse_plugin")

# Of settings, in bytes.
LONGEST = 10_000_000

# Of a file that is being written: of one that was not finished by a process that was killed, too.
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.unfinished")

# What a device that is full or broken says; anything else is a place that should not have been named.
_DEVICE = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}


def reason(error: BaseException) -> str:
    """Why, in one line: without the numbers and the names that Python adds to what the system says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error).__name__ == "ValidationError":  # pydantic's, with a page for each field
        first = error.errors(include_url=False)[0]  # type: ignore[attr-defined]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:300]
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def unwritten(path: str | os.PathLike[str], error: BaseException) -> OutputError:
    """The error that says that path could not be written, and what to do."""
    full = getattr(error, "errno", None) in _DEVICE or not isinstance(error, (OSError, ValueError))
    made = OutputError(
        f"{os.fspath(path)} could not be written: {reason(error)}; "
        + ("make room, or name another place" if full else "name a place that can be written to")
    )
    made.exit_code = 1 if full else 2
    return made


@contextmanager
def writing(path: str | os.PathLike[str], also: tuple[type[Exception], ...] = ()) -> Iterator[BinaryIO]:
    """A binary file that is at path, whole and on the disk, once the block is left; if it fails nothing is changed there.

    Raises OutputError, also for an OSError of the block, or what else, in also, the writer of a format makes of one.
    """
    try:
        place = Path(os.path.realpath(path))
    except ValueError as error:  # a null in the name
        raise unwritten(path, error) from None
    unfinished = place.with_name(f".{os.urandom(8).hex()}.unfinished")
    try:
        if os.path.lexists(place) and not place.is_file():
            raise FileExistsError(errno.EEXIST, "there is something that is no plain file")
        try:
            with open(unfinished, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, place)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        sync_folder(place.parent)
    except SparsePluginError:
        raise
    except OSError as error:
        raise unwritten(path, error) from None
    except also as error:
        raise unwritten(path, error) from None


def is_unfinished(path: Path) -> bool:
    """Whether it is what `writing` writes before there is the file itself."""
    return _UNFINISHED.fullmatch(path.name) is not None


def clear_unfinished(folder: Path) -> None:
    """Delete what a killed process left unfinished in a folder in which nobody else writes."""
    with suppress(OSError):
        for path in filter(is_unfinished, list(folder.iterdir())):
            path.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises OutputError."""
    with writing(path) as file:
        # A name that is no UTF-8 is a lone surrogate in a text, and an escape in JSON.
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Have the names in folder on disk; where folders cannot be opened (Windows, some network disks), they are not."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made where it is missing. Raises OutputError."""
    try:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise unwritten(folder, error) from None
    return path


def append(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Append one line of JSON, behind whatever a killed process left unfinished. Raises OSError, and leaves no part of the line then."""
    line = json.dumps(record).encode() + b"\n"
    with open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        try:
            left = line
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                file.seek(end)
                if line.startswith(file.read()):  # nobody else appended meanwhile
                    file.truncate(end)
            raise


class Log:
    """Lines of JSON that are no reason to stop: one that cannot be written is lost, and that is said once."""

    def __init__(self) -> None:
        self.failed = False

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Append a record to a file, whose folder is made where it is missing."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            append(path, record)
        except (OSError, ValueError) as error:
            if not self.failed:
                self.failed = True
                log.warning("%s cannot be written: %s; the run goes on, and what it logs is lost", path, reason(error))


def content(path: str | os.PathLike[str]) -> bytes:
    """What a file of settings holds. Raises OSError, and ValueError for more than settings ever are: a device, say."""
    with open(path, "rb") as file:
        held = file.read(LONGEST + 1)
    if len(held) > LONGEST:
        raise ValueError(f"it holds more than {LONGEST:,} bytes, which are no settings")
    return held


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file of any size, 64 hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines, without lines that are none: those that a killed process left unfinished.

    Raises CheckpointError where the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError, RecursionError):
                    record = json.loads(line)
                    if isinstance(record, dict):
                        yield record
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{os.fspath(path)} cannot be read: {reason(error)}") from None


@contextmanager
def understood(path: str | os.PathLike[str], advice: str) -> Iterator[None]:
    """Around the reading of a file that should be ours: raises CheckpointError where it holds anything else.

    advice: what to do then.
    """
    try:
        yield
    except (SparsePluginError, FileNotFoundError):
        raise
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)} cannot be read: {reason(error)}; {advice}") from None
    except Exception as error:  # whatever values of other types, sizes and depths lead to
        said = f"it has no {error}" if isinstance(error, KeyError) else reason(error)
        raise CheckpointError(f"{os.fspath(path)} is damaged: {said}; {advice}") from None

"""Zips of images.

Nothing of an archive is ever written to disk, and a name in it that could lead anywhere is refused all the same: such an
archive was not made to be read.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparse_plugin.data.files import Files, FoundFiles, check_size, is_litter, without_files
from sparse_plugin.data.format import Format
from sparse_plugin.data.images import DataError
from sparse_plugin.data.source import Source

# Images are compressed already: an archive that unpacks to this many times its own size is a bomb.
_MAX_RATIO = 100


class Archive(Files):
    """Image files in a zip; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._zip = open_zip(path)
        try:
            folders = [entry.filename.rstrip("/") for entry in self._zip.infolist() if entry.is_dir()]
            entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
            for entry in entries:
                _check_entry(self.name, entry)
            entries = [entry for entry in entries if not any(map(is_litter, entry.filename.split("/")))]
            whole, claimed = path.stat().st_size, sum(entry.file_size for entry in entries)
            if claimed > _MAX_RATIO * whole:
                worst = max(entries, key=lambda entry: entry.file_size)
                raise DataError(
                    f"{self.name} unpacks to {claimed // whole} times its size ({worst.filename} alone to "
                    f"{worst.file_size:,} bytes); it is a decompression bomb and is not read"
                )
            self._entries = {entry.filename: entry for entry in entries}
            if len(self._entries) < len(entries):
                names = [entry.filename for entry in entries]
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"{self.name} holds {twice} twice; pack it again")
        except BaseException:
            self._zip.close()
            raise
        self.names = sorted(self._entries)
        self.empty = without_files((name for name in folders if not any(map(is_litter, name.split("/")))), self.names)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def _content(self, name: str) -> bytes:
        entry = self._entries[name]
        check_size(self.name, name, entry.file_size)
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"{self.name}: {name} cannot be unpacked: {error}") from None


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip, its directory read. Raises DataError where it is none, or is cut short."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise DataError(f"{path.name} is no zip archive, or is cut short: {error}") from None


def _check_entry(archive: str, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    name = name.removesuffix("/Icon\r") or name  # of a folder with a picture of its own, on a Mac
    misleads = "\\" in name or re.match("[A-Za-z]:", name) or not {"", ".", ".."}.isdisjoint(name.split("/"))
    if misleads or not name.isprintable():
        raise DataError(
            f"{archive}: the name {name!r} is no plain path inside an archive; it may be hostile and is refused"
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{archive}: {name} is a symbolic link; pack the image itself")
    if entry.flag_bits & 1:
        raise DataError(f"{archive}: {name} is encrypted; pack it without a password")


@contextmanager
def _open(path: Path, asked: Source) -> Iterator[FoundFiles]:
    with Archive(path) as archive:
        yield FoundFiles(archive, asked)


FORMAT = Format.of_files(".zip", _open, order=10)

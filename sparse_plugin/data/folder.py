"""Folders of images, or of class folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparse_plugin.data.files import Files, FoundFiles, check_size, is_litter, without_files
from sparse_plugin.data.format import Format
from sparse_plugin.data.images import DataError
from sparse_plugin.data.source import Source


class Folder(Files):
    """Image files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name or str(path)
        self.names = sorted(self._walk())

    def _walk(self) -> Sequence[str]:
        found: list[str] = []
        inside: list[str] = []
        root = self.path.resolve()

        def fail(error: OSError) -> None:
            raise DataError(f"the folder {error.filename} cannot be read: {error.strerror}") from None

        for here, folders, names in os.walk(root, onerror=fail):
            folders[:] = [name for name in folders if not is_litter(name)]
            for name in (*folders, *names):
                path = Path(here, name)
                if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root)):
                    raise DataError(
                        f"{self.name}: {path.relative_to(root).as_posix()} is a link that leads out of the folder; "
                        "name the folder that it leads to, or copy what it points at"
                    )
            inside += [Path(here, name).relative_to(root).as_posix() for name in folders]
            found += [Path(here, name).relative_to(root).as_posix() for name in names if not is_litter(name)]
        self.empty = without_files(inside, found)
        return found

    def _content(self, name: str) -> bytes:
        path = self.path / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{self.name}: {name} is no plain file; take it out")
            check_size(self.name, name, status.st_size)
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.name}: {name} cannot be read: {error.strerror}") from None


@contextmanager
def _open(path: Path, asked: Source) -> Iterator[FoundFiles]:
    yield FoundFiles(Folder(path), asked)


# After all others: a folder may hold anything.
FORMAT = Format(Path.is_dir, _open, word="a folder", order=900)

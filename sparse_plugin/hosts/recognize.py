"""Telling a host by its source: which files it has, what they define, and which revision they are of.

Top-level module names (`models`, `utils`, `config`) occur in many codebases, so a patch never goes by a name alone.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Revision:
    """One repository at the revision that a patch was written for and run on.

    folder: the part of the repository that its scripts have first on their path. files: some of its files, below folder,
    with the first 12 digits of their git blob ids.
    """

    repository: str
    revision: str
    folder: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def differing(self, root: Path) -> list[str]:
        """The files that are not, below root, as they were at this revision."""
        return [path for path, blob in self.files.items() if blob_id(root / path)[:12] != blob]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.repository, self.folder, f"at {self.revision[:10]}")))


@dataclass(frozen=True)
class Recognition:
    """What of a host's classes and functions is where its patch expects it, below one root.

    Each is a spec, "module:name". moved: its file is there and does not define it. absent: its file is not there.
    """

    root: Path
    there: tuple[str, ...]
    moved: tuple[str, ...]
    absent: tuple[str, ...]


def recognize(root: Path, specs: Sequence[str]) -> Recognition | None:
    """How root fits specs; None where it defines less than half of them, and is something else."""
    there: list[str] = []
    moved: list[str] = []
    absent: list[str] = []
    for spec in dict.fromkeys(specs):
        module, _, name = spec.partition(":")
        file = source_file(root, module)
        (absent if file is None else there if name in defined(file) else moved).append(spec)
    if not there or 2 * len(there) < len(there) + len(moved) + len(absent):
        return None
    return Recognition(root, tuple(there), tuple(moved), tuple(absent))


def source_file(root: Path, module: str) -> Path | None:
    """The file of a module below root, or None."""
    stem = root.joinpath(*module.split("."))
    return next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)


def import_root(module: Any) -> Path | None:
    """The folder from which a module was imported by its full name; None for one without a file."""
    file = getattr(module, "__file__", None)
    if not file:
        return None
    path = Path(file).resolve()
    if path.name == "__init__.py":
        path = path.parent
    depth: int = module.__name__.count(".")
    return path.parents[depth]


def defined(file: Path) -> frozenset[str]:
    """The names that a Python file defines at its top, with its classes' methods as `Class.method`."""
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        return frozenset()
    return _defined(file, stamp)


@lru_cache(maxsize=256)
def _defined(file: Path, stamp: int) -> frozenset[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    names: set[str] = set()
    for node in _statements(tree.body):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return frozenset(names)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module's top, and of what is tried or done there on a condition, as where a lazy one says what it hands on."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.If, ast.Try)):
                yield from _statements(getattr(node, part, []))


# What the parser says of statements that were right in Python 2.
_PYTHON_2 = (
    "Missing parentheses in call to",
    "multiple exception types must be",
    "leading zeros in decimal",
    "backquote",
)


def unparsable(file: Path) -> str:
    """Why a file is no Python that runs here, with the line; "" where it is."""
    try:
        ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = " ".join(str(getattr(error, "msg", error)).split())
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        old = any(part in said for part in _PYTHON_2)
        what = "is Python 2" if old else f"is no Python {sys.version_info.major}.{sys.version_info.minor}"
        return f"{file.name} {what}{line}: {said}" + ("; convert it, with 2to3 for instance" if old else "")
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror}"
    return ""


def python_files(folder: Path) -> list[Path]:
    """The Python files below folder that are its own: without hidden folders and installed packages."""
    return [
        file
        for file in sorted(folder.rglob("*.py"))
        if not any(part.startswith(".") or part == "site-packages" for part in file.relative_to(folder).parts)
    ]


def classes(folder: Path) -> list[tuple[Path, str, bool]]:
    """Every class in the Python files of folder: its file, its name, and whether it uses convolutions, as far as names
    tell: it, or a class or function of the folder that it uses, mentions one.
    """
    found: list[tuple[Path, str, set[str]]] = []
    uses: dict[str, set[str]] = {}
    for file in python_files(folder):
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                uses.setdefault(node.name, set()).update(names)
                if isinstance(node, ast.ClassDef):
                    found.append((file, node.name, names))
    convolving = {name for name, names in uses.items() if any("conv" in n.lower() for n in names)}
    while more := {name for name, names in uses.items() if name not in convolving and names & convolving}:
        convolving |= more
    return [(file, name, name in convolving or bool(names & convolving)) for file, name, names in found]


def blob_id(file: Path) -> str:
    """The id that git gives a file's content; "" for one that is not there."""
    try:
        content = file.read_bytes()
    except OSError:
        return ""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

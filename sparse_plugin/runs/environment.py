"""What a run was made with, besides its configuration: kept in RUN/environment.json, an entry for every change of it."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sparse_plugin.errors import OutputError
from sparse_plugin.support.files import content, write
from sparse_plugin.support.version import __version__

log = logging.getLogger("sparse_plugin")

FILE = "environment.json"


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, the device and the hash of the code, as plain values."""
    return {
        "sparse_plugin": __version__,
        "code": code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kind": device.type,
        "device": _device(device),
        "threads": torch.get_num_threads(),
    }


def code(root: Path | None = None) -> str:
    """The SHA-256, 16 digits, of the package's Python and C sources, by name. root: a checkout; by default this package."""
    if root is None:
        folders = {
            name: Path(spec.submodule_search_locations[0])
            for name in ("", "registry", "patches")
            if (spec := find_spec(f"sparse_plugin.{name}".rstrip("."))) and spec.submodule_search_locations
        }
    else:
        folders = {"": root / "sparse_plugin", "registry": root / "registry", "patches": root / "patches"}
    files: dict[str, Path] = {}
    for name, folder in folders.items():
        for path in (*folder.rglob("*.py"), *folder.rglob("*.c")):
            files["/".join((*([name] if name else []), *path.relative_to(folder).parts))] = path
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def note(run: Path, device: torch.device) -> None:
    """Say in a run's directory what is at work on it from now on; nothing where that is known."""
    known, here = read(run), describe(device)
    if here not in known:
        try:
            write(run / FILE, json.dumps([*known, here], indent=1) + "\n")
        except OutputError as error:  # no reason to lose a run
            log.warning("what this run is made with is not kept: %s", error)


def read(run: Path) -> list[dict[str, Any]]:
    """The entries of a run, the oldest first; [] for a run of before they were kept, or a damaged file."""
    try:
        found = json.loads(content(run / FILE))
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return device.type
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"

"""The C kernels as a shared library: found in the cache, or compiled into it on first use."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from sparse_plugin.support import cache

log = logging.getLogger("sparse_plugin")

_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
# Of these the first that the compiler knows: what tunes for this very CPU is spelt differently by machine and by age.
_TUNING = ("-march=native", "-mcpu=native", "")
_SECONDS = 180


class CompilerError(Exception):
    """No library could be made; the message is the reason."""


def load() -> ctypes.CDLL:
    """The compiled kernels, loaded into this process, or `CompilerError`.

    The cache is asked first, so a machine without a compiler can be given a cache that another of its kind filled. A
    cache that cannot be used costs a compilation per process, and a warning, not the kernels.
    """
    try:
        folder = cache.open_directory()
        for tuning in _TUNING:
            found, refusal = cache.find(folder, key(tuning))
            if refusal:
                log.warning("a compiled kernel in the cache was refused and is compiled again: %s", refusal)
            if found:
                return _open(found)
    except cache.CacheError as error:
        return _without_cache(str(error))
    with tempfile.TemporaryDirectory(prefix="sparse_plugin-", ignore_cleanup_errors=True) as scratch:
        library, tuning = build(Path(scratch))
        try:
            return _open(cache.store(folder, key(tuning), library.read_bytes()))
        except cache.CacheError as error:
            log.warning("the kernel cache cannot be written (%s); the kernels are this process's only", error)
            return _open(library)


def _without_cache(reason: str) -> ctypes.CDLL:
    log.warning("the kernel cache cannot be used (%s); the kernels are compiled for this process only", reason)
    with tempfile.TemporaryDirectory(prefix="sparse_plugin-", ignore_cleanup_errors=True) as scratch:
        return _open(build(Path(scratch))[0])  # a loaded library outlives its file


def build(folder: Path) -> tuple[Path, str]:
    """Compile into `folder`; returns the library and the tuning flag that was taken, or raises `CompilerError`."""
    command, target = find_compiler(), folder / "kernels.so"
    started, failure = time.perf_counter(), ""
    for tuning in _TUNING:
        line = [*command, *_FLAGS, *([tuning] if tuning else []), str(_SOURCES / "kernels.c"), "-o", str(target)]
        try:
            done = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=_SECONDS, cwd=folder, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise CompilerError(f"{shlex.join(command)} could not be run: {error}") from error
        if done.returncode == 0 and target.exists():
            log.info("compiled the projection kernels with %s in %.1f s", command[0], time.perf_counter() - started)
            return target, tuning
        failure = failure or (done.stderr.strip().splitlines() or ["no message"])[0]
    raise CompilerError(f"{shlex.join(command)} failed: {failure}")


def find_compiler() -> list[str]:
    """$CC, else the first of cc, gcc and clang that is there, or `CompilerError`."""
    explicit = os.environ.get("CC")
    if explicit:
        return shlex.split(explicit)
    for candidate in ("cc", "gcc", "clang"):
        found = shutil.which(candidate)
        if found:
            return [found]
    raise CompilerError("there is no C compiler (cc, gcc or clang) on PATH and $CC names none")


def key(tuning: str) -> str:
    """What a library is made from: the sources, the flags, the machine, and its CPU where the flags look at it."""
    digest = hashlib.sha256()
    for source in sorted(_SOURCES.glob("*.c")):
        digest.update(source.read_bytes())
    parts = [*_FLAGS, tuning, platform.system(), platform.machine(), *platform.libc_ver(), _cpu() if tuning else ""]
    digest.update("\0".join(parts).encode())
    return digest.hexdigest()[: cache.LENGTH]


def _cpu() -> str:
    """The CPU's model and features: a home directory is shared between machines that have not the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("model name", "flags", "Features", "CPU part", "isa")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _open(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise CompilerError(f"the compiled kernels cannot be loaded: {error}") from error

"""Which process is which, without packages and on every system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import uuid
from functools import cache
from pathlib import Path


@cache
def this_host() -> str:
    """This host's name and, after a space, what tells it from others of that name, from itself after a restart, and from
    containers on it, which number their processes by themselves.
    """
    parts = []
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:  # no Linux
        parts.append(f"{uuid.getnode():x}")
    return f"{platform.node() or 'host'} {' '.join(parts)}"


def began(process: int) -> str:
    """When a process of this host began, as a text that no other process of that number has; "" where there is none."""
    if sys.platform == "win32":
        return _windows(process)
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _posix(process)
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]  # in ticks since the host started; the dead wait for their parent as Z


def stopped(process: int) -> bool:
    """Whether a process of this host is suspended: by a signal, or in a debugger. False where that is not told."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def _posix(process: int) -> str:
    asked = ["ps", "-o", "lstart=", "-p", str(process)]
    try:
        return subprocess.run(asked, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout.strip()
    except OSError:
        return ""


def _windows(process: int) -> str:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = ctypes.c_void_p(kernel.OpenProcess(0x1000, False, process))  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return ""
    try:
        code, times = ctypes.c_ulong(), [ctypes.c_ulonglong() for _ in range(4)]
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.GetProcessTimes(handle, *map(ctypes.byref, times))
        return str(times[0].value) if code.value == 259 else ""  # STILL_ACTIVE
    finally:
        kernel.CloseHandle(handle)

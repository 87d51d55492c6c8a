"""The C library's allocator, for a process whose every step allocates the same large tensors anew."""

from __future__ import annotations

import ctypes

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_pages() -> bool:
    """Have glibc keep freed memory in this process instead of returning it; False where there is no glibc, and nothing is done.

    A tensor above 32 MiB is otherwise mapped, filled with zeroed pages by the kernel and unmapped again at every step. It
    concerns the whole process, whose resident memory stays at its peak: for a command of one's own, not for a library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (
        AttributeError,
        OSError,
        TypeError,
    ):  # other systems have no such function, or no handle of the process itself
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))

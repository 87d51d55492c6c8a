"""A command as a child whose exit code, signals and standard streams are passed through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Sent to the launcher, they are the command's; not every system has each.
_PASSED_ON = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


def supervise(command: list[str], env: dict[str, str]) -> int:
    """Run command as a child and wait; signals sent to this process are the child's. Returns the code, or -signal."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS, Windows
        return _wait(subprocess.Popen(command, env=env))
    waited_for = {*_PASSED_ON, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        child = subprocess.Popen(command, env=env, preexec_fn=bound_to_us(mask), close_fds=False)
        while child.poll() is None:
            info = signal.sigwaitinfo(waited_for)
            # What the terminal sends goes to the whole foreground group, the child included; the rest came to us alone.
            if info.si_signo != signal.SIGCHLD and info.si_code <= 0:
                child.send_signal(info.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return child.returncode


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for child where nobody tells who sent a signal: an interrupt is the terminal's, which sends it to the child too."""
    with _handled(lambda number: None if number == signal.SIGINT else child.send_signal(number)):
        return child.wait()


@contextmanager
def _handled(handle: Callable[[int], None]) -> Iterator[None]:
    before = {}
    for number in _PASSED_ON:
        with suppress(ValueError, OSError):  # not in the main thread
            before[number] = signal.signal(number, lambda number, frame: handle(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bound_to_us(mask: set[signal.Signals | int]) -> Callable[[], None]:
    """What the child does before it becomes the command: our signal mask back, and no life after our death."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError, TypeError):
        prctl = None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return prepare


def die_of(number: int) -> None:
    """End as the child did, without a second core file."""
    sys.stdout.flush()
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # those that nobody can catch have no handler to be reset
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)

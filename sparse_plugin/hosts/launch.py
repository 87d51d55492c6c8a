"""Running a command with the plugin on, in a fresh interpreter and all that it starts.

The plugin travels by the environment: a `sitecustomize` first on PYTHONPATH reads the config and patches the hosts
when they are imported. The command runs as a child whose exit code, signals and standard streams are passed through.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sparse_plugin.config import ENVIRONMENT, SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts.command import checked, not_started
from sparse_plugin.hosts.host import identify
from sparse_plugin.hosts.journal import STATUS, gathered, gathering, say, verdict
from sparse_plugin.hosts.session import default_run_dir

BOOT = Path(__file__).parent / "boot"

# The command succeeded and nothing was regularized.
NOTHING_ATTACHED = 3

# Sent to the launcher, they are the command's; not every system has each.
_PASSED_ON = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


def environment(config: SparsityConfig, run_dir: str | None) -> dict[str, str]:
    """The variables that switch the plugin on in a Python process."""
    path = [str(BOOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "SPARSE_PLUGIN_BOOT": "1",
        ENVIRONMENT: config.to_environment(),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        **({"SPARSE_PLUGIN_RUN_DIR": os.path.abspath(run_dir)} if run_dir else {}),
    }


def run(command: Sequence[str], config: SparsityConfig) -> int:
    """Run command with the plugin on, and return its exit code, or NOTHING_ATTACHED.

    A config without a regularizer waits for the host's own configuration, or a checkpoint, to name it. `python` means the
    interpreter that runs this. A command that dies of a signal takes this process along. Raises ConfigError for a command,
    a script, settings or a host's source that are not valid, before anything runs.
    """
    regularizer = None if config.regularizer is None else config.build()
    _check_outer(config)
    command = checked(command)
    _check_host(command, config)
    if not config.enabled:
        say(f"{regularizer or 'the plugin'} is disabled; running without it")
    with gathering() as folder:
        run_dir = config.run_dir or default_run_dir()
        # The command itself knows by our process id that it is the one that must have the plugin.
        on = {**environment(config, run_dir), STATUS: str(folder), "SPARSE_PLUGIN_BOOT": str(os.getpid())}
        try:
            code = _supervise(command, {**os.environ, **on})
        except OSError as error:
            raise ConfigError(not_started(command, error)) from None
        events = gathered(folder)
    if code == 1 and any("mistake" in event for event in events):
        return ConfigError.exit_code
    text, failed = verdict(events, config)
    if text and code == 0:  # what failed did not get as far as to be judged
        say(text)
    if code < 0:
        _die_of(-code)
    return NOTHING_ATTACHED if failed and code == 0 else code


def _check_outer(config: SparsityConfig) -> None:
    """Refuse what another launcher, inside which this one runs, was asked to do otherwise."""
    outer = SparsityConfig.from_environment() if STATUS in os.environ else None
    if outer is None or outer.regularizer is None or not outer.enabled:
        return
    if (outer.regularizer, outer.settings) != (config.regularizer, config.settings) or not config.enabled:
        asked = config.build() if config.enabled else "nothing, by enabled: false"
        raise ConfigError(
            f"this runs inside another `sparse-plugin run`, which was asked for {outer.build()}, and is asked for {asked}; "
            "give the regularizer in one place"
        )


def _check_host(command: list[str], config: SparsityConfig) -> None:
    """Refuse a host whose source two patches claim, or whose generators are not where its patch looks for them."""
    script = next((word for word in command[1:] if word.endswith(".py") and os.path.exists(word)), None)
    if script is None or config.generator is not None or not config.enabled:
        return
    folder = Path(script).resolve().parent
    for host, recognition in identify(folder, config.host):
        if recognition.root == folder and (lost := host.lost(recognition)):
            raise ConfigError(lost)


def _supervise(command: list[str], env: dict[str, str]) -> int:
    """Run command as a child and wait; signals sent to this process are the child's. Returns the code, or -signal."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS, Windows
        return _wait(subprocess.Popen(command, env=env))
    waited_for = {*_PASSED_ON, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        child = subprocess.Popen(command, env=env, preexec_fn=_child(mask), close_fds=False)
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


def _child(mask: set[signal.Signals | int]) -> Callable[[], None]:
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


def _die_of(number: int) -> None:
    """End as the child did, without a second core file."""
    sys.stdout.flush()
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # those that nobody can catch have no handler to be reset
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)

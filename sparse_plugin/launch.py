"""Running a command with the plugin on, in a fresh interpreter and all that it starts.

The plugin travels by the environment: a `sitecustomize` first on PYTHONPATH reads the config and patches the hosts
when they are imported. The command runs as a child whose exit code, signals and standard streams are passed through.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sparse_plugin.config import ENVIRONMENT, SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.hosts import identify
from sparse_plugin.session import STATUS, default_run_dir, say, verdict

BOOT = Path(__file__).parent / "boot"

# The command succeeded and nothing was regularized.
NOTHING_ATTACHED = 3


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
    command = _checked(list(command))
    _check_host(command, config)
    if not config.enabled:
        say(f"{regularizer or 'the plugin'} is disabled; running without it")
    with tempfile.TemporaryDirectory(prefix="sparse-plugin-") as status:
        run_dir = config.run_dir or default_run_dir()
        code = _supervise(command, {**os.environ, **environment(config, run_dir), STATUS: status})
        events = [json.loads(line) for file in Path(status).glob("*.jsonl") for line in file.read_text().splitlines()]
    if code == 1 and any("mistake" in event for event in events):
        return ConfigError.exit_code
    text, failed = verdict(events, config)
    if text:
        say(text)
    if code < 0:
        _die_of(-code)
    return NOTHING_ATTACHED if failed and code == 0 else code


def _check_host(command: list[str], config: SparsityConfig) -> None:
    """Refuse a host whose source two patches claim, or whose generators are not where its patch looks for them."""
    script = next((word for word in command[1:] if word.endswith(".py") and os.path.exists(word)), None)
    if script is None or config.generator is not None or not config.enabled:
        return
    folder = Path(script).resolve().parent
    for host, recognition in identify(folder, config.host):
        if recognition.root == folder and (lost := host.lost(recognition)):
            raise ConfigError(lost)


def _checked(command: list[str]) -> list[str]:
    if not command:
        raise ConfigError(
            "no command is given; write it after --, as in `sparse-plugin run --sparse l1 -- python train.py`"
        )
    if command[0] in ("python", "python3"):
        command[0] = sys.executable
    if shutil.which(command[0]) is None:
        raise ConfigError(f"the command {command[0]!r} does not exist or cannot be executed")
    script = next((word for word in command[1:] if not word.startswith("-")), "")
    if command[0] == sys.executable and command[1:2] == [script] and not os.path.exists(script):
        raise ConfigError(f"the script {script!r} does not exist")
    return command


def _supervise(command: list[str], env: dict[str, str]) -> int:
    """Run command as a child and wait; signals sent to this process are the child's. Returns the code, or -signal."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS, Windows
        return subprocess.call(command, env=env)
    passed_on = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on | {signal.SIGCHLD})
    prepare = _child(mask)
    child = subprocess.Popen(command, env=env, preexec_fn=prepare, close_fds=False)
    while child.poll() is None:
        info = signal.sigwaitinfo(passed_on | {signal.SIGCHLD})
        # What the terminal sends goes to the whole foreground group, the child included; the rest came to us alone.
        if info.si_signo != signal.SIGCHLD and info.si_code <= 0:
            child.send_signal(info.si_signo)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return child.returncode


def _child(mask: set[signal.Signals | int]) -> Callable[[], None]:
    """What the child does before it becomes the command: our signal mask back, and no life after our death."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        prctl = None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return prepare


def _die_of(number: int) -> None:
    """End as the child did, without a second core file."""
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)

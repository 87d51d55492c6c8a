"""Starting Python processes, most of which import torch: from a process that has imported it, or bare.

Importing torch and torchvision costs some seconds of a core, many times what most scripts of the tests do. `run` therefore
forks them from one process (start_server.py) that has; what a test says of an interpreter's start, of streams, signals
and deaths needs bare=True. BARE_STARTS=1 in the environment starts everything bare, as do other systems than Linux.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from start_server import forkable

_AT_START = dict(os.environ)


def run(command, *, cwd, env=None, input=None, timeout=None, bare=False):
    """As subprocess.run(..., capture_output=True, text=True); env is added to this process's environment."""
    command = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    if bare or not forkable(command) or not _forks(environment):
        return subprocess.run(
            command, cwd=cwd, env=environment, input=input, timeout=timeout, capture_output=True, text=True
        )
    return _server().run(command, str(cwd), environment, input, timeout)


def _forks(environment):
    """Whether a fork starts as an interpreter with this environment would."""
    if sys.platform != "linux" or "BARE_STARTS" in os.environ:
        return False
    return _read_at_start(environment) == _read_at_start(_AT_START)


def _read_at_start(environment):
    ours = ("PYTHON", "OMP_", "MKL_", "LD_")
    return {key: value for key, value in environment.items() if key.startswith(ours) and key != "PYTHONPATH"}


@cache
def _server():
    return Server()


class Server:
    """The process that forks, and what is said to it. It ends with this process, or when it is closed."""

    def __init__(self):
        here = str(Path(__file__).parent)
        code = f"import sys; sys.path[0] = {here!r}; from start_server import serve; del sys.path[0], sys; serve()"
        environment = {key: value for key, value in _AT_START.items() if key != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self.close)

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def run(self, command, cwd, environment, input, timeout):
        """See `run`."""
        with tempfile.TemporaryDirectory() as folder:
            streams = {name: f"{folder}/{name}" for name in ("stdin", "stdout", "stderr")}
            for name, file in streams.items():
                Path(file).write_text(input or "" if name == "stdin" else "")
            request = json.dumps({"command": command, "cwd": cwd, "env": environment, **streams})
            print(request, file=self.process.stdin, flush=True)
            child = int(self.process.stdout.readline())
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                os.killpg(child, signal.SIGKILL)
                self.process.stdout.readline()
                raise subprocess.TimeoutExpired(command, timeout, *_read(streams))
            code = int(self.process.stdout.readline())
            return subprocess.CompletedProcess(command, code, *_read(streams))


def _read(streams):
    return Path(streams["stdout"]).read_text(), Path(streams["stderr"]).read_text()

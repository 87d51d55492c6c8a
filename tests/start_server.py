"""A Python process that has imported torch, and from which scripts are forked as if an interpreter had started: see starts.py.

Of sparse_plugin, and of what its hosts' code imports beyond the common packages, nothing is imported before the fork. The
command that `-m sparse_plugin run` starts is a fork of the same process too, and the launcher's child.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import site
import subprocess
import sys
import threading
from contextlib import suppress

COMMON = ("torch._dynamo", "torchvision", "numpy", "scipy.signal", "PIL.Image", "yaml", "tqdm", "pydantic")


def serve():
    """Fork for every line of the standard input to run what it says, and tell the fork's id and its exit code."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    for name in COMMON:
        with suppress(ImportError):
            importlib.import_module(name)
    del sys.modules[__name__], sys.modules["__main__"].serve
    gc.collect()
    gc.freeze()
    for line in iter(requests.readline, ""):
        child = os.fork()
        if not child:
            requests.close()
            answers.close()
            _end(_code_of(lambda: _become(json.loads(line))))  # noqa: B023
        print(child, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def _code_of(run):
    """The exit code that an interpreter would end with, or -signal; what it would print of an exception is printed."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _end(code):
    """What an interpreter does at its end, but for taking apart all that was imported, which costs more than most scripts do."""
    threading._shutdown()
    atexit._run_exitfuncs()
    vars(sys.modules["__main__"]).clear()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def forkable(command):
    """Whether command is this interpreter with a script, a module or code, and no options of its own."""
    if len(command) < 2 or command[0] != sys.executable:
        return False
    return (command[1] in ("-m", "-c") and len(command) > 2) or command[1].endswith(".py")


def _become(start):
    """Take over the streams and the folder of a start, and run it."""
    os.setsid()
    for number, file in enumerate((start["stdin"], start["stdout"], start["stderr"])):
        opened = os.open(file, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(start["cwd"])
    command, environment = start["command"], start["env"]
    if command[1:4] == ["-m", "sparse_plugin", "run"]:
        command, environment = _launched() or (command, environment)
    _run(command, environment)


def _run(command, environment):
    """What an interpreter does when it starts: the environment, the path and its sitecustomize, arguments, __main__."""
    os.environ.clear()
    os.environ.update(environment)
    sys.modules["torch"].seed()
    sys.modules["numpy"].random.seed()
    paths = [os.path.abspath(path) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = dict.fromkeys([*paths, *sys.path])
    importlib.invalidate_caches()
    if paths:
        sys.modules.pop("sitecustomize", None)
        site.execsitecustomize()
    if command[1] == "-m":
        sys.argv = ["-m", *command[3:]]
        sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(command[2])  # which is what an interpreter calls
        return
    main = vars(sys.modules["__main__"])
    if command[1] == "-c":
        sys.argv = ["-c", *command[3:]]
        sys.path.insert(0, "")
        exec(compile(command[2], "<string>", "exec"), main)
        return
    sys.argv = command[1:]
    sys.path.insert(0, os.path.dirname(os.path.realpath(command[1])))
    main.update(__file__=os.path.abspath(command[1]), __cached__=None)
    with open(command[1], "rb") as file:
        code = compile(file.read(), main["__file__"], "exec")
    exec(code, main)


def _launched():
    """Fork the process of the command that a launcher is going to start; there, return what it is told to be."""
    orders, telling = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(telling)
        with open(orders) as told:
            text = told.read()
        if not text:
            os._exit(0)  # no command was started
        return json.loads(text)
    os.close(orders)
    popen = subprocess.Popen

    def start(command, *, env=None, **how):
        subprocess.Popen = popen
        if not forkable(command) or set(how) - {"preexec_fn", "close_fds"}:
            return popen(command, env=env, **how)
        with open(telling, "w") as told:
            json.dump([command, env], told)
        return _Forked(pid)

    subprocess.Popen = start
    return None


class _Forked:
    """What a launcher asks of a Popen."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

"""What only POSIX has, hidden in every process, and files as Windows has them: attaching, `enable`, `run`, `train` and `restore` do without."""

import os
import subprocess
import sys

import pytest

# Found by every interpreter that starts with it on its path, those that the launcher starts too.
HIDE = """
import fcntl, os, shutil, signal, sys

# Windows opens no folder, flushes nothing that is open for reading alone, and takes no name from a file that is open.
opens, flushes, shutil._use_fd_functions = os.open, os.fsync, False
def os_open(path, *args, **kwargs):
    if not isinstance(path, int) and os.path.isdir(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))
    return opens(path, *args, **kwargs)
def os_fsync(file, getfl=(fcntl.fcntl, fcntl.F_GETFL)):
    descriptor = file if isinstance(file, int) else file.fileno()
    if getfl[0](descriptor, getfl[1]) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    flushes(descriptor)
def of_closed_files(call):
    def checked(*paths, **kwargs):
        for path in filter(os.path.isfile, paths):
            for descriptor in os.listdir("/proc/self/fd"):
                try:
                    same = os.path.samefile(path, "/proc/self/fd/" + descriptor)
                except OSError:
                    continue
                if same:
                    raise PermissionError(13, "The process cannot access the file because it is being used", os.fspath(path))
        return call(*paths, **kwargs)
    return checked
os.open, os.fsync = os_open, os_fsync
if os.path.isdir("/proc/self/fd"):
    os.replace, os.rename, os.unlink, os.remove = map(of_closed_files, (os.replace, os.rename, os.unlink, os.remove))

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline"}

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
for name in MODULES & set(sys.modules):
    del sys.modules[name]
for module, names in {
    os: "fork forkpty getuid geteuid getgid getpgid setsid killpg sched_getaffinity sched_setaffinity getloadavg nice O_NOFOLLOW",
    signal: "sigwaitinfo sigtimedwait sigwait pthread_sigmask pthread_kill SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGKILL SIGCHLD SIGALRM alarm setitimer",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

import ctypes
real = ctypes.CDLL.__init__
def of_a_file(self, name, *args, **kwargs):
    if name is None:
        raise TypeError("LoadLibrary() argument 1 must be str, not None")
    real(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = of_a_file
"""

NETS = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.out.register_forward_hook(lambda m, args, out: counts.append(int((args[0] != 0).sum(1).max())))
    def forward(self, z):
        return self.out(torch.relu(self.body(z)))

counts = []
z = torch.randn(2, 6, 8, 8)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Runs Python on such a system, in tmp_path."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDE)
    (tmp_path / "nets.py").write_text(NETS)

    def run(*words, **env):
        path = os.pathsep.join([str(tmp_path / "site"), str(tmp_path)])
        set_ = {"PYTHONPATH": path, "SPARSE_PLUGIN_CACHE": str(tmp_path / "cache"), "USERNAME": "somebody", "USER": "somebody", **env}
        return subprocess.run(
            [sys.executable, *map(str, words)], cwd=tmp_path, env={**os.environ, **set_}, capture_output=True, text=True
        )  # fmt: skip

    return run


HERE = """
import nets, sparse_plugin
from nets import Generator, counts, z
from sparse_plugin.projections import kernel_status

generator = Generator()
with sparse_plugin.attach(generator, "l0_inf", k=2, example_input=z):
    generator(z)
print("attach", counts[-1], [row["state"] for row in kernel_status() if row["path"] == "c"])
sparse_plugin.enable(None, "l0_inf", k=3)
Generator()(z)
sparse_plugin.disable()
print("enable", counts[-1])

import numpy
from click.testing import CliRunner
from PIL import Image
from sparse_plugin.commands.cli import cli

images = numpy.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), numpy.uint8)
numpy.savez("images.npz", images=images, labels=numpy.arange(16) % 10)
Image.fromarray(images.reshape(128, 128, 3)).save("photo.png")
train = ["train", "dcgan", "--data", "images.npz", "--run", "run", "--steps", "2", "--width", "0.0625", "--batch", "4"]
restore = ["restore", "denoise", "photo.png", "-o", "restored.png", "--iterations", "2", "--width", "0.0625", "--scales", "2"]
for words in (train, train, restore):
    done = CliRunner().invoke(cli, [*words, "--sparse", "l0", "--set", "sparse.k=0.25"])
    print(words[0], done.exit_code, done.output if done.exit_code else "")
"""
SCRIPT = """
import sys
from nets import Generator, counts, z
Generator()(z)
print(counts, flush=True)
sys.exit(int(sys.argv[1]))
"""


def test_all_but_the_launcher(elsewhere, tmp_path):
    done = elsewhere("-c", HERE, CC="no-such-compiler")
    assert done.returncode == 0, done.stderr
    said = [line.strip() for line in done.stdout.splitlines()]
    assert said == ["attach 2 ['unavailable']", "enable 3", "train 0", "train 0", "restore 0"], (done.stdout, done.stderr)


def test_the_launcher(elsewhere, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    on = ["-m", "sparse_plugin", "run", "--sparse", "l0_inf", "--set", "sparse.k=2", "--generator", "nets:Generator", "--"]
    done = elsewhere(*on, "python", "script.py", 7)
    assert (done.returncode, done.stdout) == (7, "[2]\n"), done.stderr


def test_the_launcher_when_it_is_told_to_end(elsewhere, tmp_path):
    """Where nobody tells who sent a signal: one to end goes to the command, and its code is the launcher's."""
    (tmp_path / "waits.py").write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(9))\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    ends = """
import os, subprocess, sys
words = [sys.executable, "-m", "sparse_plugin", "run", "--sparse", "l0", "--set", "sparse.k=1", "--", "python", "waits.py"]
process = subprocess.Popen(words, stdout=subprocess.PIPE)
process.stdout.readline()
process.terminate()
print(process.wait())
"""
    done = elsewhere("-c", ends)
    assert done.stdout == "9\n", done.stderr


COMPILERS = {
    "of other options": "#!/bin/sh\necho 'cl : warning D9002 : ignoring unknown option' >&2; touch kernels.obj\n",
    "of garbage": "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ $1 = -o ] && echo garbage > $2; shift; done\n",
    "that is killed": "#!/bin/sh\nkill -9 $$\n",
    "that fails": "#!/bin/sh\nprintf '\\377\\376 failed' >&2; exit 1\n",
}


@pytest.mark.parametrize("script", COMPILERS.values(), ids=COMPILERS)
def test_compilers_of_another_kind(script, tmp_path, monkeypatch):
    from sparse_plugin.projections import compiler

    file = tmp_path / "compiler"
    file.write_text(script)
    file.chmod(0o700)
    monkeypatch.setenv("CC", str(file))
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(compiler.CompilerError):
        compiler.load()


def test_text_is_opened_with_its_encoding():
    """The default is another on Windows: no file is opened as text without saying which."""
    import ast
    from pathlib import Path

    import sparse_plugin.patches
    import sparse_plugin.registry

    found = []
    for package in (sparse_plugin, sparse_plugin.patches, sparse_plugin.registry):
        for file in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or any(k.arg in ("encoding", None) for k in node.keywords):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                mode = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else "r"
                opened = name == "open" and isinstance(node.func, ast.Name) and "b" not in str(mode)
                if name in ("read_text", "write_text") or opened:
                    found.append(f"{file.name}:{node.lineno}")
    assert found == []

"""A script that is forked from a process that has imported torch is what a script that is started bare is."""

import signal
import subprocess
import sys
import textwrap

import pytest
import starts

LOOKS = """
import os, sys
own = [name for name in sys.modules if name.partition(".")[0] in ("sparse_plugin", "start_server", "their_module")]
print(sys.argv, os.getcwd(), __name__, globals().get("__file__"), sorted(globals()), sys.path, sorted(own))
print(sorted({*os.environ} - {"_"}), os.environ["PYTHONPATH"], sys.stdin.read(), sys.flags)
print("told", file=sys.stderr)
import torch, their_module
print(their_module.__file__, torch.__file__, getattr(__import__("builtins"), "theirs", None))
os._exit(0) if sys.argv[-1] == "at once" else sys.exit(int(sys.argv[-1]))
"""
ON = ["-m", "sparse_plugin", "run", "--sparse", "l0", "--set", "sparse.k=1", "--"]

linux = pytest.mark.skipif(sys.platform != "linux" or not starts._forks(starts._AT_START), reason="everything is started bare")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "looks.py").write_text(LOOKS)
    (tmp_path / "their_module.py").write_text("")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import builtins; builtins.theirs = 'theirs'")
    return tmp_path


@linux
@pytest.mark.parametrize(
    "words",
    [["looks.py", "a b", "3"], ["-c", LOOKS, "0"], ["-m", "looks", "at once"], [*ON, "python", "looks.py", "3"]],
    ids=["script", "code", "module", "launched"],
)
def test_a_fork_is_as_a_bare_start(folder, words):
    found = [
        starts.run([sys.executable, *words], cwd=folder, env={"PYTHONPATH": str(folder / "site")}, input="typed", bare=bare)
        for bare in (False, True)
    ]
    forked, bare = ((done.returncode, done.stdout.splitlines(), done.stderr) for done in found)
    assert forked == bare
    assert bare[1][-1].endswith(" theirs") and "typed" in bare[1][-2] and "told" in bare[2]


@linux
def test_ends_of_a_fork(folder):
    run = lambda body, **how: starts.run([sys.executable, "-c", textwrap.dedent(body)], cwd=folder, **how)  # noqa: E731
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)").returncode == -signal.SIGTERM
    done = run("import atexit; atexit.register(print, 'last'); raise KeyError('mine')")
    assert done.returncode == 1 and done.stdout == "last\n" and done.stderr.endswith("KeyError: 'mine'\n")
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        run("import time; print('began', flush=True); time.sleep(60)", timeout=1)
    assert expired.value.output == "began\n"
    first, second = (run("import numpy, random, torch; print(numpy.random.rand(), random.random(), float(torch.rand(())))") for _ in "12")
    assert not {*first.stdout.split()} & {*second.stdout.split()}


@linux
def test_what_only_an_interpreter_reads_is_started_bare(folder):
    forked = lambda *words, **env: starts.run([sys.executable, *words], cwd=folder, env=env).stdout  # noqa: E731
    code = "import sys; print('torch' in sys.modules, sys.flags.dev_mode)"
    assert forked("-c", code) == "True False\n"
    assert forked("-X", "dev", "-c", code) == forked("-c", code, PYTHONDEVMODE="1") == "False True\n"

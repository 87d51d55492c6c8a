"""Scripts that do not know of the plugin, run with it on: from bare starts where a start, a stream, an end or a signal is tested."""

import json
import os
import signal
import subprocess
import sys

import pytest
from launched import script, sparse_plugin

from sparse_plugin.hosts.environment import default_run_dir

ON = ("run", "--sparse", "l0_inf", "--set", "sparse.k=2", "--generator", "__main__:Generator", "--")


def test_a_script_of_its_own(tmp_path):
    script(
        tmp_path,
        """
        if __name__ == "__main__":
            train()
            print(counts, sys.argv, sys.stdin.read())
            print("to stderr", file=sys.stderr)
        """,
    )
    done = sparse_plugin(*ON, "python", "train.py", "--lr", "3", "--", "-x", cwd=tmp_path, bare=True, input="typed")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[2, 2, 2] ['train.py', '--lr', '3', '--', '-x'] typed\n"
    said = [line for line in done.stderr.splitlines() if line.startswith("sparse_plugin:")]
    assert len(said) == 1 and "l0_inf(k=2) attached to Generator at the input of out (Conv2d 3x8x3x3)" in said[0]
    assert "to stderr" in done.stderr


@pytest.mark.slow
def test_the_log_of_an_unknown_host_has_a_folder_of_its_own(tmp_path):
    script(tmp_path, "train()")
    sparse_plugin(*ON, "python", "train.py", cwd=tmp_path)
    (file,) = tmp_path.glob("sparse_runs/*/sparsity.jsonl")
    assert json.loads(file.read_text().splitlines()[0])["sparsity"] <= 25
    options = list(ON)
    options[-1:-1] = ["--run-dir", "here", "--set", "sparse.measure_every=1"]
    script(tmp_path, "import os\nos.mkdir('work')\nos.chdir('work')\ntrain()")  # here is where the command was given
    sparse_plugin(*options, "python", "train.py", cwd=tmp_path)
    assert len((tmp_path / "here" / "sparsity.jsonl").read_text().splitlines()) == 3 and not list(tmp_path.glob("work/*"))


def test_runs_that_begin_in_the_same_second_have_a_log_each(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folders = []
    for number in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        folders.append(default_run_dir())
    assert all(folder.startswith(f"{tmp_path}/sparse_runs/") for folder in folders) and len(set(folders)) == 2


@pytest.mark.slow
def test_as_without_it(tmp_path):
    """argv, cwd, __main__, path, flags, globals and results are what plain Python gives."""
    script(
        tmp_path,
        """
        import os, hashlib
        g = train()
        digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in g.parameters())).hexdigest()
        print(sys.argv, os.getcwd(), __name__, __file__, sys.path[0], sys.flags.bytes_warning, sorted(globals()), digest)
        print(len(sys.path), sys.path)
        """,
    )
    plain = subprocess.run([sys.executable, "-b", "train.py", "a"], cwd=tmp_path, capture_output=True, text=True)
    everything = ["run", "--sparse", "l0", "--set", "sparse.k=1.0", "--generator", "__main__:Generator", "--"]
    disabled = ["run", "--sparse", "l0", "--set", "sparse.k=1", "--set", "sparse.enabled=false", "--"]
    for options in (everything, disabled):
        done = sparse_plugin(*options, sys.executable, "-b", "train.py", "a", cwd=tmp_path, bare=True)
        assert done.stdout == plain.stdout
    assert "disabled" in done.stderr


@pytest.mark.parametrize("code", [0, 1, 7])
def test_exit_codes_pass_through(tmp_path, code):
    script(tmp_path, f"train(); sys.exit({code})")
    assert sparse_plugin(*ON, "python", "train.py", cwd=tmp_path, bare=code == 7).returncode == code


def test_a_traceback_is_the_scripts_own(tmp_path):
    script(tmp_path, "train()\nraise RuntimeError('mine')")
    done = sparse_plugin(*ON, "python", "train.py", cwd=tmp_path, bare=True)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("RuntimeError: mine")


def test_nothing_attached_is_said_loudly(tmp_path):
    script(tmp_path, "print('fine')", "other.py")
    done = sparse_plugin(*ON, "python", "other.py", cwd=tmp_path)
    assert done.returncode == 3 and done.stdout == "fine\n"
    assert "NOTHING WAS ATTACHED: no generator of a known host (" in done.stderr
    assert '--generator "module:Class"' in done.stderr


def test_attached_and_never_run_is_said_loudly(tmp_path):
    script(tmp_path, "Generator()")
    done = sparse_plugin(*ON, "python", "train.py", cwd=tmp_path)
    assert done.returncode == 3
    assert "NOTHING WAS REGULARIZED: l0_inf(k=2) attached to Generator" in done.stderr


def test_signals_are_the_scripts(tmp_path):
    """Those that it lives on after, and the one that ends it."""
    numbers = [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM]
    script(
        tmp_path,
        """
        import signal, time
        train()
        def caught(number, frame):
            print("caught", number, flush=True)
            if number == signal.SIGTERM:
                sys.exit(9)
        for number in sys.argv[1:]:
            signal.signal(int(number), caught)
        print("ready", flush=True)
        while True:
            time.sleep(60)
        """,
    )
    command = [sys.executable, "-m", "sparse_plugin", *ON, "python", "train.py", *(str(int(n)) for n in numbers)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    for number in numbers:
        process.send_signal(number)
        assert process.stdout.readline() == f"caught {int(number)}\n"
    assert process.stdout.read() == ""
    assert process.wait() == 9


# Of signals and deaths it makes no difference what the script imports.
def test_death_by_a_signal_is_passed_on(tmp_path):
    (tmp_path / "train.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert sparse_plugin(*ON, "python", "train.py", cwd=tmp_path, bare=True).returncode == -signal.SIGKILL


def test_a_killed_launcher_takes_the_script_along(tmp_path):
    (tmp_path / "train.py").write_text("import time; print('here', flush=True); time.sleep(200); print('it went on')")
    command = [sys.executable, "-m", "sparse_plugin", *ON, "python", "train.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    process.kill()
    process.wait()
    assert process.stdout.read() == ""  # which ends when no process is left that could write


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_that_the_script_starts(tmp_path, method):
    script(
        tmp_path,
        f"""
        import torch.multiprocessing as mp

        def work(results):
            train()
            results.put(counts)

        if __name__ == "__main__":
            context = mp.get_context("{method}")
            results = context.SimpleQueue()
            workers = [context.Process(target=work, args=(results,)) for _ in range(2)]
            for w in workers: w.start()
            print(results.get(), results.get())
            for w in workers: w.join()
            data = torch.utils.data.DataLoader(list(range(8)), num_workers=1, batch_size=4)
            print([b.tolist() for b in data])
        """,
    )
    done = sparse_plugin(*ON, "python", "train.py", cwd=tmp_path, bare=method == "fork")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[2, 2, 2] [2, 2, 2]\n[[0, 1, 2, 3], [4, 5, 6, 7]]\n"
    assert done.stderr.count("attached to Generator") == 2  # each process that built a generator reports


def test_another_sitecustomize_still_runs(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import builtins; builtins.theirs = globals().get('__file__')")
    script(tmp_path, "train(); import sitecustomize; print(theirs == sitecustomize.__file__, counts)")
    done = sparse_plugin(*ON, "python", "train.py", cwd=tmp_path, bare=True, env={"PYTHONPATH": str(tmp_path / "site")})
    assert done.stdout == "True [2, 2, 2]\n", done.stderr


def test_a_config_file_and_a_users_regularizer(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sparse_plugin\n\n@sparse_plugin.register('first')\nclass First(sparse_plugin.Constraint):\n"
        "    n: int = 8\n    def project(self, gamma):\n        return gamma * (gamma.new_ones(gamma.shape[1]).cumsum(0)"
        " <= self.n)[:, None, None]\n"
    )
    (tmp_path / "sparse.yaml").write_text("sparse:\n  regularizer: first\n  generator: __main__:Generator\n")
    script(tmp_path, "train(); print(counts)")
    options = ("run", "--config", "sparse.yaml", "--import", "mine.py", "--set", "sparse.n=1", "--")
    done = sparse_plugin(*options, "python", "train.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[1, 1, 1]\n"), done.stderr


@pytest.mark.slow
def test_a_penalty_reaches_an_unknown_hosts_loss(tmp_path):
    script(tmp_path, "g = train(); print(float(g.body.weight.sum()))")
    weights = []
    for weight in (0.0, 1.0):
        options = (
            "run",
            "--sparse",
            "l1",
            "--set",
            f"sparse.weight={weight}",
            "--generator",
            "__main__:Generator",
            "--",
        )
        done = sparse_plugin(*options, "python", "train.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        weights.append(done.stdout)
    assert weights[0] != weights[1]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--sparse", "l0inf", "--", "python", "train.py"], "there is no regularizer 'l0inf'; there are coherence, l0, "),
        (
            ["--sparse", "l0", "--set", "sparse.k=0", "--set", "sparse.kk=1", "--", "python", "train.py"],
            "no field 'kk'",
        ),
        (["--sparse", "l0", "--set", "sparse.k=16.0", "--", "python", "train.py"], "write 16 for 16 coefficients"),
        (["--config", "none.yaml", "--", "python", "train.py"], "none.yaml cannot be read"),
        (["--sparse", "l0", "--set", "sparse.k=1", "--", "python", "none.py"], "the script 'none.py' does not exist"),
        (["--sparse", "l0", "--set", "sparse.k=1", "--", "no-such-command"], "'no-such-command' does not exist"),
        (["--sparse", "l0", "--set", "sparse.k=1"], "no command is given"),
        (["--sparse", "l0", "--set", "k=1", "--", "python", "train.py"], "--set takes sparse.KEY=VALUE"),
        (
            ["--sparse", "l0", "--set", "sparse.k=1", "--import", "none.py", "--", "python", "train.py"],
            "there is no such file",
        ),
        (["--sparse", "l0", "--set", "sparse.k=1", "--host", "mimic", "--", "python", "train.py"], "no host 'mimic'"),
        (
            ["--sparse", "l0", "--set", "sparse.k=1", "--generator", "Generator", "--", "python", "train.py"],
            "module:Class",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, args, sentence):
    script(tmp_path, "print('ran')")
    done = sparse_plugin("run", *args, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_an_ambiguous_generator_stops_the_script(tmp_path):
    script(
        tmp_path,
        """
        class Two(Generator):
            def __init__(self):
                super().__init__()
                self.mask = nn.Conv2d(8, 3, 3, padding=1)
            def forward(self, z):
                h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))
                return self.out(h) * self.mask(h)
        Two()(torch.randn(2, 6))
        print("went on")
        """,
    )
    done = sparse_plugin(*ON, "python", "train.py", cwd=tmp_path)
    assert done.returncode == 2 and "went on" not in done.stdout and "Traceback" not in done.stderr
    assert "2 convolutions make the image together" in done.stderr and '--set "sparse.sites=[path]"' in done.stderr
    options = list(ON)
    options[-1:-1] = ["--set", "sparse.sites=[out]"]
    done = sparse_plugin(*options, "python", "train.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "went on\n")


@pytest.mark.parametrize("how", ["thread", "process"])
def test_a_refusal_that_the_script_survives_is_no_success(tmp_path, how):
    """In a thread, or in a command whose exit code a script of a sweep does not look at."""
    script(
        tmp_path,
        """
        import os, threading
        def work():
            g = train()
            g.out = nn.Conv2d(8, 8, 1)
            g(torch.randn(2, 6))
        if sys.argv[1] == "thread":
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        elif sys.argv[1] == "process":
            os.system(f"{sys.executable} train.py itself")
        else:
            work()
        """,
    )
    done = sparse_plugin(*ON, "python", "train.py", how, cwd=tmp_path)
    assert done.returncode == 2 and "made an image without going through any site" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_enable_in_a_notebook(tmp_path):
    """The same from Python, for this process and those it starts."""
    script(
        tmp_path,
        """
        import subprocess, os, sparse_plugin
        before = dict(os.environ)
        if "--inner" not in sys.argv:
            session = sparse_plugin.enable(None, "l0_inf", k=2, generator="__main__:Generator")
            train()
            print(counts, flush=True)
            subprocess.run([sys.executable, __file__, "--inner"], check=True)
            sparse_plugin.disable()
            counts.clear(); train(); print(max(counts) > 2, {k: os.environ.get(k) for k in os.environ.keys() | before.keys() if os.environ.get(k) != before.get(k) and not k.startswith('TORCH')})
            try:
                sparse_plugin.enable("mimicri", "l0", k=1)
            except sparse_plugin.SparsePluginError as error:
                print(error)
        else:
            train(); print(counts)
        """,
    )
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["[2, 2, 2]", "[2, 2, 2]", "True {}"]
    assert "there is no host 'mimicri'; there are" in lines[3]

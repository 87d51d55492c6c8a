"""`tune -- python train.py`: trainers that do not know of the plugin, each run through the launcher."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from launched import HEADER
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.data import DataError
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.hosts import until
from sparse_plugin.tune import launched, pictures
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE
from sparse_plugin.tune.launched import HostTarget, WrittenScorer, filled, stopping_host
from sparse_plugin.tune.metric import parse
from sparse_plugin.tune.pictures import newest
from sparse_plugin.tune.target import Goal

PNG = pictures._png(Image.new("RGB", (9, 9), "red"))
HEAD = PNG[12:16] + (60_000).to_bytes(4, "big") * 2 + PNG[24:29]
HUGE = PNG[:12] + HEAD + zlib.crc32(HEAD).to_bytes(4, "big") + PNG[33:]

TRAIN = """
import json, os
folder, seed = sys.argv[1], int(sys.argv[2])
g = train()
torch.manual_seed(seed)
with torch.no_grad():
    value = float(g(torch.randn(64, 6)).square().mean())
with open(os.path.join(folder, "log.jsonl"), "a") as log:
    log.write(json.dumps({"fid": 100 * value, "most": max(counts)}) + "\\n")
print("FID:", value)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(HEADER + TRAIN)
    return tmp_path


def go(*words, code=0):
    done = CliRunner().invoke(cli, ["tune", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


SCRIPT = ["--", "python", "train.py", "{dir}", "{seed}"]
LAST = ["--metric", "jsonl:log.jsonl:fid", "--goal", "min", "--out", "out", "--budget", "1"]


@pytest.mark.slow
def test_a_trainer_of_nobody_is_raced(here):
    said = go(*LAST, "--methods", "l0_inf", "--shares", "0.5", "--seeds", "1", *SCRIPT)
    found = json.loads(Path("out/ranking.json").read_text())
    (best,) = found["standings"]
    assert best["change"]["pairs"] == 1 and found["whole_runs"] == 2 and found["natural_density"][0] > 0
    assert best["sparse"]["k"] == pytest.approx(found["natural_density"][0] / 2, rel=0.01)
    assert "whole runs are raced" in said
    # What was attached: vanilla keeps all eight channels, the candidate fewer.
    runs = {path: json.loads(path.read_text()) for path in Path("out").rglob("run/log.jsonl")}
    assert len(runs) == 2
    assert {("vanilla" in str(path), record["most"] > 4) for path, record in runs.items()} == {(True, True), (False, False)}
    vanilla = runs[Path("out/vanilla/seed0/run/log.jsonl")]["fid"]
    plain = subprocess.run([sys.executable, "train.py", "out", "0"], capture_output=True, text=True, check=True)
    assert 100 * float(plain.stdout.split()[1]) == vanilla  # measuring Γ changes no bit
    chosen = "--config out/sparse.yaml" if found["chosen"] != "vanilla" else "enabled: false"
    assert chosen in found["command"] + Path("out/sparse.yaml").read_text()
    # With another metric, nothing is trained again.
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("output.log")}
    again = [word.replace("jsonl:log.jsonl:fid", "regex:FID: (.*)") for word in LAST]
    go(*again, "--methods", "l0_inf", "--shares", "0.5", "--seeds", "1", *SCRIPT)
    assert before == {path: path.stat().st_mtime_ns for path in Path("out").rglob("output.log")}


def faked(monkeypatch, run):
    """Instead of starting processes, run(label, seed, folder, environment, output) -> exit code."""
    calls = []

    def watched(command, environment, output):
        words = command[command.index("--") + 1 :]
        folder = Path(words[2])
        folder.parent.joinpath("measured").mkdir(exist_ok=True)
        line = {"site": "out", "level": 1, "sparsity_before": 50.0, "sparsity": 50.0, "atom_usage": [0.5] * 8}
        folder.parent.joinpath("measured/sparsity.jsonl").write_text(json.dumps(line) + "\n")
        calls.append((folder.parts[-3], int(words[3]), environment.get(until.SHARE)))
        return run(*calls[-1][:2], folder, environment, output)

    monkeypatch.setattr(launched, "_watched", watched)
    return calls


def writes(folder, value):
    with open(folder / "log.jsonl", "a") as log:
        log.write(json.dumps({"fid": value}) + "\n")
    return 0


LEVELS = ["--methods", "l0_inf:k=0.25,l0_inf:k=0.5"]


def test_a_candidate_whose_trainer_fails_is_told_at_the_end(here, monkeypatch):
    def run(label, seed, folder, environment, output):
        if label == "l0_inf-k=0.5":
            output.write(b"working\nRuntimeError: out of memory\n")
            return 1
        return writes(folder, 10 - ("l0" in label) + 0.1 * seed)

    calls = faked(monkeypatch, run)
    said = go(*LAST, *LEVELS, *SCRIPT, code=1)
    assert "l0_inf-k=0.5 failed: l0_inf-k=0.5, seed 0: the trainer exited with 1: RuntimeError: out of memory; see out" in said
    assert "\n  1  l0_inf-k=0.25" in said and len(calls) == 5  # it is not tried with the other seed
    before = len(calls)
    go(*LAST, *LEVELS, *SCRIPT, code=1)
    assert {label for label, *_ in calls[before:]} == {"l0_inf-k=0.5"}  # what failed is tried again, the rest is there
    assert Path("out/l0_inf-k=0.5/seed0/run-cut1").is_dir()


def test_what_a_run_printed_that_was_cut_short_is_not_read_for_the_next(here, monkeypatch):
    def run(label, seed, folder, environment, output):
        if not folder.with_name("output.log-cut1").exists():
            output.write(b"FID: 3\n")
            return 1
        return 0

    calls = faked(monkeypatch, run)
    printed = ["--metric", "regex:FID: (.*)", *LAST[2:], *LEVELS, *SCRIPT]
    assert "the trainer exited with 1: FID: 3" in go(*printed, code=1)
    assert "is found nowhere in" in go(*printed, code=2) and len(calls) == 2
    assert sorted(path.name for path in Path("out/vanilla/seed0").glob("*-cut1")) == ["measured-cut1", "output.log-cut1", "run-cut1"]


def test_a_directory_is_called_what_it_is():
    relative = Path("{seed}/a{dir}") / "run"
    run = relative.absolute()  # for a trainer that changes its directory
    assert filled(["--out={dir}", "{seed}{seed}", "{dir}/{seed}"], relative, 3) == [f"--out={run}", "33", f"{run}/3"]


@pytest.mark.parametrize(
    ("metric", "does", "code", "why"),
    [
        ("jsonl:log.jsonl:kid", lambda folder: writes(folder, 1.0), 2, "no number 'kid' stands in a line of"),
        ("jsonl:other.jsonl:fid", lambda folder: writes(folder, 1.0), 2, "other.jsonl cannot be read: No such file"),
        ("jsonl:log.jsonl:fid", lambda folder: writes(folder, float("nan")), 1, "its score is nan, which is no number to compare"),
        ("regex:FID (.*)", lambda folder: 0, 2, "the pattern 'FID (.*)' is found nowhere in"),
        ("tensorboard:fid", lambda folder: 0, 2, "no event file of TensorBoard was written below"),
        ("jsonl:log.jsonl:fid", lambda folder: 3, 3, "the trainer exited with 3"),
        ("jsonl:log.jsonl:fid", lambda folder: -9, 1, "the trainer died of signal 9: it printed nothing"),
    ],
)
def test_a_metric_that_is_not_there_ends_it(here, monkeypatch, metric, does, code, why):
    calls = faked(monkeypatch, lambda label, seed, folder, *_: does(folder))
    said = go("--metric", metric, "--goal", "min", *LAST[4:], *LEVELS, *SCRIPT, code=code)
    assert why in said and {label for label, *_ in calls} == {"vanilla"} and said.count("sparse-plugin:") == 1


def test_a_metric_that_one_candidate_does_not_write(here, monkeypatch):
    faked(monkeypatch, lambda label, seed, folder, *_: 0 if label == "l0_inf-k=0.5" else writes(folder, 3.0 + seed))
    assert "l0_inf-k=0.5 failed: l0_inf-k=0.5, seed 0: " in go(*LAST, *LEVELS, *SCRIPT, code=1)


@pytest.mark.parametrize("error", [DataError("its images go from nan to nan"), CheckpointError("a.pth is cut short")])
def test_a_candidate_of_which_nothing_can_be_drawn(here, monkeypatch, error):
    """A network that came to nothing is a candidate that failed; of vanilla it ends the race."""
    faked(monkeypatch, lambda label, seed, folder, *_: writes(folder, 3.0 + seed))
    read = WrittenScorer.score
    fails = "l0_inf-k=0.5"

    def score(self, trial, before):
        if trial.candidate.label == fails:
            raise error
        return read(self, trial, before)

    monkeypatch.setattr(WrittenScorer, "score", score)
    said = go(*LAST, *LEVELS, *SCRIPT, code=1)
    assert f"l0_inf-k=0.5 failed: l0_inf-k=0.5, seed 0: {error}" in said and "\n  1  l0_inf-k=0.25" in said
    fails = "vanilla"
    assert f"sparse-plugin: {error}" in go(*LAST, "--out", "again", *LEVELS, *SCRIPT, code=2)


@pytest.mark.parametrize("content", [b"", b"no picture", PNG[:45], HUGE], ids=["empty", "text", "half", "huge"])
def test_a_picture_that_is_none(tmp_path, content):
    (tmp_path / "samples.png").write_bytes(content)
    newest(tmp_path, tmp_path / "shown" / "samples.png")
    assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize(
    ("options", "script", "why"),
    [
        ([], ["python", "train.py", "{dir}"], "the command has no {seed}"),
        ([], ["python", "train.py", "{seed}"], "the command has no {dir}"),
        ([], ["python", "nowhere.py", "{dir}", "{seed}"], "the script 'nowhere.py' does not exist"),
        ([], ["no-such-program", "{dir}", "{seed}"], "'no-such-program' does not exist"),
        (["--budget", "0.3"], SCRIPT[1:], "as it cannot be stopped and gone on with; give --budget"),
        (["--budget", "3000"], SCRIPT[1:], "say it by --steps"),
        (["--sites", "block"], SCRIPT[1:], "further sites here are none"),
        (["--samples", "5"], SCRIPT[1:], "--samples was given, and it is of images that are drawn"),
        (["--metric", "tensorboard:"], SCRIPT[1:], "cannot be read; write"),
        (["--metric", "FD-lite0", "--generator", "a:B"], SCRIPT[1:], "--goal was given, and a metric that is measured"),
        ([], ["train", "dcgan"], "--goal was given, and it is of a trainer of others"),
    ],
)
def test_what_is_refused_before_anything_is_run(here, monkeypatch, options, script, why):
    calls = faked(monkeypatch, lambda *_: 0)
    assert why in go(*LAST, *options, *LEVELS, "--", *script, code=2)
    assert not calls and not Path("out").exists()


def test_what_needs_a_goal_or_a_checkpoint(here):
    assert "give --goal min or max" in go("--metric", "jsonl:a:b", *SCRIPT, code=2)
    assert "by --generator MODULE:CLASS and --checkpoint PATTERN" in go("--metric", "FD-lite0", *SCRIPT, code=2)


def target(stops=True):
    made = HostTarget(SCRIPT[1:], WrittenScorer(parse("jsonl:log.jsonl:fid")), Goal("fid", True, True))
    made.stops = stops
    return made


def test_a_trainer_that_stops_is_gone_on_with(here, monkeypatch):
    def run(label, seed, folder, environment, output):
        share = float(environment[until.SHARE])
        Path(environment[until.STOPPED]).write_text(json.dumps({"step": round(100 * share), "steps": 100}))
        return writes(folder, 10 - share)

    calls = faked(monkeypatch, run)
    made = target()
    scores = [made.trial(VANILLA_CANDIDATE, 0, share, Path("out")).perform("", print) for share in (0.25, 1.0)]
    assert [(score.value, score.step) for score in scores] == [(9.75, 25), (9, 100)]
    assert len(Path("out/vanilla/seed0/run/log.jsonl").read_text().splitlines()) == 2 and len(calls) == 2
    Path("out/vanilla/seed0/scores.jsonl").unlink()
    with pytest.raises(ConfigError, match="has gone on to 100 % of a run, and is to be scored at 25 %"):
        made.trial(VANILLA_CANDIDATE, 0, 0.25, Path("out")).perform("", print)


def test_a_trainer_that_was_to_stop_and_did_not(here, monkeypatch):
    faked(monkeypatch, lambda label, seed, folder, *_: writes(folder, 1.0))
    with pytest.raises(ConfigError, match="was to be stopped, and did not train by a trainer that the host patch stops.*--whole"):
        target().trial(VANILLA_CANDIDATE, 0, 0.25, Path("out")).perform("", print)


def test_no_new_number_since_the_rung_before(here, monkeypatch):
    def run(label, seed, folder, environment, output):
        Path(environment[until.STOPPED]).write_text('{"step": 1}')
        return 0 if (folder / "log.jsonl").exists() else writes(folder, 1.0)

    faked(monkeypatch, run)
    target().trial(VANILLA_CANDIDATE, 0, 0.25, Path("out")).perform("", print)
    with pytest.raises(ConfigError, match="no new number was written to jsonl:log.jsonl:fid since 25 % of the run"):
        target().trial(VANILLA_CANDIDATE, 0, 1.0, Path("out")).perform("", print)


@pytest.mark.parametrize("lines", [(1, 1, 1), (3, 1, 2)])
def test_a_file_that_is_written_anew_at_each_rung(here, monkeypatch, lines):
    """As by a script that writes what it has measured in the end."""
    count = iter(lines)

    def run(label, seed, folder, environment, output):
        share = float(environment[until.SHARE])
        Path(environment[until.STOPPED]).write_text('{"step": 1}')
        (folder / "log.jsonl").write_text(f'{{"fid": {10 - share}}}\n' * next(count))
        return 0

    faked(monkeypatch, run)
    scores = [target().trial(VANILLA_CANDIDATE, 0, share, Path("out")).perform("", print) for share in (0.25, 0.5, 1.0)]
    assert [score.value for score in scores] == [9.75, 9.5, 9]


def test_whose_trainer_stops(here):
    scripts = {
        "a.py": ("import torch_mimicry as mmc", "mimicry"),
        "b.py": ("from torch_mimicry.nets import sngan", "mimicry"),
        "c.py": ("import torch", None),
        "d.py": ("print 'old'", None),
    }
    for name, (text, expected) in scripts.items():
        (here / name).write_text(text)
        assert stopping_host(["python", name], None) == expected, name
    assert stopping_host(["python", "c.py"], "mimicry") == "mimicry" and stopping_host(["python", "a.py"], "msgan") is None
    assert stopping_host(["sh", "a.sh"], None) is None


SLOW = """
import signal, sys, time
def save(*_):
    open(sys.argv[1] + "/saved", "w").close()
    sys.exit(1)
signal.signal(signal.SIGINT, save)
open(sys.argv[1] + "/began", "w").close()
time.sleep(3600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what dies with its parent")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_race_leaves_no_trainer_behind(here, number):
    (here / "train.py").write_text(SLOW)
    tune = subprocess.Popen(
        [sys.executable, "-m", "sparse_plugin", "tune", *LAST, *LEVELS, *SCRIPT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    began = Path("out/vanilla/seed0/run/began")
    while not began.exists():
        assert tune.poll() is None
        time.sleep(0.05)
    mine = [p for p in Path("/proc").iterdir() if p.name.isdigit() and f"train.py\0{began.absolute().parent}".encode() in _line(p) and _cwd(p) == str(here)]
    assert mine
    tune.send_signal(number)
    tune.wait()
    while any(path.exists() for path in mine):  # for ever, if one is left behind
        time.sleep(0.05)
    assert Path("out/vanilla/seed0/run/saved").exists() == (number == signal.SIGINT)
    assert not Path("out/vanilla/seed0/scores.jsonl").exists()


def _line(path):
    try:
        return (path / "cmdline").read_bytes()
    except OSError:
        return b""


def _cwd(path):
    try:
        return os.readlink(path / "cwd")
    except OSError:
        return ""


def test_a_run_travels_to_another_process():
    import pickle

    trial = target().trial(VANILLA_CANDIDATE, 3, 0.5, Path("out"))
    twin = pickle.loads(pickle.dumps(trial))
    assert (str(twin), twin.directory, twin.protocol) == (str(trial), trial.directory, trial.protocol)

"""What `sparse-plugin run` says of a script's own TensorBoard writer or W&B run."""

import json
import os
import sys

import pytest
from launched import script, sparse_plugin

from sparse_plugin.hosts.journal import LOST, unlogged

WRITER = "from torch.utils.tensorboard import SummaryWriter\n"


def run(tmp_path, *options, code=0, log="[jsonl, tensorboard]"):
    own = ("--sparse", "l0_inf", "--set", "sparse.k=2", "--generator", "__main__:Generator")
    setting = ("--set", f"sparse.log={log}", "--set", "sparse.measure_every=1")
    done = sparse_plugin("run", *own, *setting, *options, "--", "python", "train.py", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    return [line for line in done.stderr.splitlines() if "sparse_plugin:" in line or "log asks" in line]


def steps(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return [each.step for each in found.Scalars("sparse_plugin/out/sparsity")]


@pytest.fixture(autouse=True)
def _needed():
    pytest.importorskip("tensorboard")


def test_a_scripts_writer_is_found(tmp_path):
    script(tmp_path, WRITER + "w = SummaryWriter('mine')\ntrain()\nw.close()")
    said = run(tmp_path, "--run-dir", "here")
    assert len(said) == 2 and "measurements go to TensorBoard, mine, too" in said[1]
    lines = (tmp_path / "here" / "sparsity.jsonl").read_text().splitlines()
    assert steps(tmp_path / "mine") == [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_only_there(tmp_path):
    script(tmp_path, WRITER + "w = SummaryWriter('mine')\ntrain()\nw.close()")
    run(tmp_path, log="tensorboard")
    assert steps(tmp_path / "mine") == [1, 2, 3] and not list(tmp_path.rglob("sparsity*"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("train()", "no SummaryWriter of torch.utils.tensorboard or tensorboardX was live in this process when"),
        ("Generator()(torch.zeros(2, 6))", "no measurement was due, or none was taken"),
    ],
)
def test_nothing_written_is_said_at_the_end(tmp_path, body, why):
    script(tmp_path, body)
    said = run(tmp_path)
    assert said[-1].startswith(f"sparse_plugin: NOTHING WAS LOGGED TO tensorboard: {why}")
    assert len(said) == (3 if "train" in body else 2) and not list(tmp_path.rglob("events*"))


def test_the_rank_that_has_a_writer_writes(tmp_path):
    """Whichever it is; the verdict is over all of them."""
    script(
        tmp_path,
        WRITER
        + """
import os, subprocess
if "RANK" not in os.environ:
    ranks = [subprocess.Popen([sys.executable, __file__], env={**os.environ, "RANK": str(rank)}) for rank in range(2)]
    sys.exit(max(rank.wait() for rank in ranks))
w = SummaryWriter("mine") if os.environ["RANK"] == "1" else None
train()
if w is not None:
    w.close()
""",
    )
    said = run(tmp_path, "--run-dir", "here")
    assert steps(tmp_path / "mine") == [1, 2, 3]
    assert sum("measurements go to TensorBoard" in line for line in said) == 1 and not any("NOTHING" in s for s in said)
    assert sorted(os.listdir(tmp_path / "here")) == ["sparsity.jsonl", "sparsity.rank1.jsonl"]


def test_what_is_no_sink_is_told_before_anything_runs(tmp_path):
    script(tmp_path, "open('ran', 'w')")
    own = ("--sparse", "l0_inf", "--set", "sparse.k=2", "--set", "sparse.log=[jsonl, tensorbord]")
    done = sparse_plugin("run", *own, "--", sys.executable, "train.py", cwd=tmp_path)
    assert done.returncode == 2 and "Did you mean 'tensorboard'?" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_what_a_journal_comes_to():
    asked = [{"log": "tensorboard"}, {"log": "wandb"}, {"log": "wandb"}]
    assert unlogged([]) == ""
    assert unlogged([*asked, {"logged": "wandb: W&B, run x"}, {"logged": "tensorboard: there"}]) == ""
    missed = [{"unlogged": "wandb: first"}, {"unlogged": "wandb: second"}, {"logged": "tensorboard: there"}]
    assert unlogged([*asked, *missed]) == "NOTHING WAS LOGGED TO wandb: first"
    assert unlogged([*asked, {LOST: "folder"}]) == ""

"""Runs that are killed and go on: the same to the bit, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gan_runs import CASES, Killed, dies, log, same, train, weights

from sparse_plugin.errors import ConfigError
from sparse_plugin.gans import recipe
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.rundir import RunDirectory


@pytest.mark.parametrize("arch", CASES)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(arch, tmp_path, monkeypatch):
    whole, parts, config = tmp_path / "whole", tmp_path / "parts", CASES[arch]
    said = train(arch, whole, config)
    assert (
        said
        == f"{whole} is finished: 4 steps of {recipe(arch).title}; the generator is in {whole}/checkpoints/step-0000004"
    )
    dies(monkeypatch, 4)
    with pytest.raises(Killed):
        train(arch, parts, config)
    assert RunDirectory(parts).step == 2 and len(log(parts)) == 3
    train(arch, parts, config)
    assert not same(weights(whole), weights(parts))
    assert log(whole) == log(parts)
    if config is not None:
        assert log(whole, "sparsity.jsonl") == log(parts, "sparsity.jsonl")
    assert (whole / "samples/step-0000004.png").read_bytes() == (parts / "samples/step-0000004.png").read_bytes()
    before, after = weights(whole, 2), weights(whole)
    roles = {name.split(".")[0] for name in same(before, after)}
    assert roles >= {"generator", "discriminator", "optimizers"} | ({"encoder"} if arch == "ssgan" else set())
    assert all(t.isfinite().all() for t in after.values())


LONGER = {"batch": 8, "steps": 60, "checkpoint_every": 5, "sample_every": 60, "log_every": 5, "seed": 5}


SCRIPT = f"""
import sys
sys.path.insert(0, sys.argv[1])
from gan_runs import CASES, train
print(train("dcgan", sys.argv[2], CASES["dcgan"], **{LONGER}))
"""


@pytest.mark.slow
def test_sigkill_and_resume(tmp_path):
    """Two processes are killed at work, wherever they are; a third finishes what they began."""
    folder = tmp_path / "parts" / "checkpoints"

    def start():
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(folder.parent)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    killed = []
    for reached in (5, 25):
        process = start()
        while checkpoints.steps(folder)[-1:] < [reached]:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        killed.append(checkpoints.steps(folder)[-1])
    assert 5 <= killed[0] < killed[1] < 60
    last = start()
    train("dcgan", tmp_path / "whole", CASES["dcgan"], **LONGER)
    assert b"is finished: 60 steps of DCGAN" in last.communicate()[0]
    assert not same(weights(tmp_path / "whole", 60), weights(tmp_path / "parts", 60))
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    assert log(tmp_path / "whole", "sparsity.jsonl") == log(tmp_path / "parts", "sparsity.jsonl")


def test_what_a_killed_run_left_unfinished_is_cleared_away(tmp_path, monkeypatch):
    dies(monkeypatch, 3)
    with pytest.raises(Killed):
        train("dcgan", tmp_path / "a")
    half = tmp_path / "a/checkpoints/.step-0000004"
    half.mkdir()
    (half / "generator.safetensors").write_bytes(b"half")
    with open(tmp_path / "a/log.jsonl", "a") as file:
        file.write('{"step": 3, "ti')
    train("dcgan", tmp_path / "a")
    assert not half.exists() and [r["step"] for r in log(tmp_path / "a")] == [1, 2, 3, 4]


def test_who_is_killed_while_it_writes_a_file_is_in_nobodys_way(tmp_path):
    """Its very first one, the configuration, or a picture of samples: the same command goes on, and leaves nothing of it."""
    half, other = f".{'0123456789abcdef'}.unfinished", ".mine.unfinished"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / half).write_text('{"vers')
    train("dcgan", tmp_path / "a", until=2)
    (tmp_path / "a/samples" / half).write_bytes(b"half")
    (tmp_path / "a/samples" / other).write_bytes(b"the user's")
    train("dcgan", tmp_path / "a")
    assert [path.name for path in tmp_path.rglob("*.unfinished")] == [other]
    (tmp_path / "b").mkdir()
    for name in (half, other):
        (tmp_path / "b" / name).write_bytes(b"half")
    with pytest.raises(ConfigError, match="is not the directory of a run"):
        train("dcgan", tmp_path / "b")
    assert (tmp_path / "b" / half).exists()

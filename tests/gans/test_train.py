"""The trainer: runs, their resumption to the bit, their refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gan_runs import CASES, Killed, dataset, dies, log, same, sparse, train, weights
from torch import nn

import sparse_plugin
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.gans import recipe, trained
from sparse_plugin.gans.batches import Batches
from sparse_plugin.gans.train import train_run as run
from sparse_plugin.gans.trainer import Trainer, _average
from sparse_plugin.measurements.log import read
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.report import TrainingReport
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.runs.sparsity import settings


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


def test_a_checkpoint_that_can_no_longer_be_kept_is_said(tmp_path, caplog):
    train("dcgan", tmp_path / "a", until=2, keep_at=(2,))
    assert not [message for message in caplog.messages if "any more" in message]
    for until in (4, None):  # on the way, and when nothing is left to do
        caplog.clear()
        train("dcgan", tmp_path / "a", until=until, keep_at=(1, 2, 3) if until else (1, 2))
        at = 2 if until else 4
        said = f"{tmp_path / 'a'} is at step {at} and has no checkpoint of step 1 any more, which was to stay"
        assert [message for message in caplog.messages if "any more" in message] == [said]
    assert checkpoints.steps(tmp_path / "a/checkpoints") == [2, 3, 4]


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


TORCHRUN = """
import shutil, sys
import torch.distributed as dist

there, folder, *archs = sys.argv[1:]
sys.path.insert(0, there)
from gan_runs import CASES, train

dist.init_process_group("gloo")
first = dist.get_rank() == 0
for arch in archs:
    said = train(arch, f"{folder}/{arch}", CASES[arch])
    assert ("is finished" in said) == first, said
# Without its last checkpoint, a run is one that was killed before it.
if first:
    shutil.copytree(f"{folder}/wgan_gp", f"{folder}/resumed")
    shutil.rmtree(f"{folder}/resumed/checkpoints/step-0000004")
dist.barrier()
train("wgan_gp", f"{folder}/resumed", CASES["wgan_gp"])
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_take_the_steps_that_one_takes_with_two_accumulated_passes(tmp_path):
    """torchrun, gloo. Two passes through spectral normalisation iterate it twice, so those GANs are only run."""
    script, folder = tmp_path / "script.py", tmp_path / "two"
    script.write_text(TORCHRUN)
    equal, others = ("dcgan", "wgan_gp", "msgan"), ("ssgan", "diffcrbiggan")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    command += [str(Path(__file__).parents[1]), str(folder), *equal, *others]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Grad strides" not in done.stderr
    for arch in equal:
        train(arch, tmp_path / "one" / arch, CASES[arch], accumulation=2)
        joint, apart = weights(tmp_path / "one" / arch), weights(folder / arch)
        assert joint.keys() == apart.keys()
        for name, value in joint.items():
            if "running" not in name and "num_batches" not in name:  # statistics are of each process's own part
                assert torch.allclose(apart[name], value, atol=2e-4, rtol=1e-3), (arch, name)
        assert len(log(folder / arch)) == 4
        assert not list((folder / arch).glob("*rank1*"))
    assert not same(weights(folder / "wgan_gp"), weights(folder / "resumed"))
    assert log(folder / "wgan_gp") == log(folder / "resumed")
    with pytest.raises(ConfigError, match="processes is 2 there and 1 here"):
        train("wgan_gp", folder / "wgan_gp", CASES["wgan_gp"])


def test_a_finished_run_says_so_and_does_nothing(tmp_path):
    train("dcgan", tmp_path / "a")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert train("dcgan", tmp_path / "a") == f"{tmp_path}/a is finished: 4 steps of DCGAN; nothing was done"
    assert files == {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"
    }


def test_the_run_directory_holds_everything(tmp_path, capsys):
    train("dcgan", tmp_path / "a", CASES["dcgan"], keep=1, sample_every=4)
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert config["recipe"]["source"] == recipe("dcgan").source and config["recipe"]["betas"] == [0.5, 0.999]
    assert config["sparse"] == {"regularizer": "l0_inf", "k": 0.25} and config["data"]["images"] == 24
    assert (config["batch"], config["steps"], config["seed"], config["width"]) == (4, 4, 0, 1 / 16)
    assert trained.read_recipe(config["recipe"]) == recipe("dcgan")
    assert trained.read_recipe(json.loads(json.dumps(vars(recipe("ssgan")), default=vars))) == recipe("ssgan")
    assert checkpoints.steps(tmp_path / "a/checkpoints") == [4]
    assert [p.name for p in (tmp_path / "a/samples").iterdir()] == ["step-0000004.png"]
    first, *_, record = read(tmp_path / "a/log.jsonl")
    assert record["images_per_second"] > 0 and {"discriminator/adversarial", "generator/adversarial", "rate"} <= set(
        record
    )
    assert first["sparsity_1"] <= 25 < first["sparsity_before_1"] and "sparsity_1" not in record  # measured every 100
    if (tmp_path / "a/tensorboard").exists():
        assert list((tmp_path / "a/tensorboard").glob("events*"))
    said = capsys.readouterr().err
    assert "generator of 61,995" in said and "l0_inf(k=0.25) at the input of synthesis" in said
    assert "step 4 of 4" in said and "images/s" in said and "left" in said


def test_without_tensorboard(tmp_path, monkeypatch):
    from sparse_plugin.runs import report

    monkeypatch.setattr(report, "find_spec", lambda name: None)
    train("dcgan", tmp_path / "a")
    assert not (tmp_path / "a/tensorboard").exists()


def test_a_grid_shows_the_samples_row_by_row(tmp_path):
    from PIL import Image

    images = torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 3, 2, 4)
    (tmp_path / "a").mkdir()
    report = TrainingReport(RunDirectory(tmp_path / "a"), "DCGAN", 0, 1, 1)
    with report:
        path = report.grid(3, images)
    assert np.asarray(Image.open(path))[::2, ::4, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_keeping_everything_is_training_without_a_regularizer(tmp_path):
    train("dcgan", tmp_path / "vanilla")
    train("dcgan", tmp_path / "all", sparse("l0_inf", k=1.0))
    train("dcgan", tmp_path / "off", sparse("l0_inf", k=1, enabled=False))
    vanilla, everything = weights(tmp_path / "vanilla"), weights(tmp_path / "all")
    assert everything.pop("generator.synthesis.sparse_plugin._extra_state") is not None
    assert not same(vanilla, everything)
    assert not same(vanilla, weights(tmp_path / "off"))


def test_seeds(tmp_path):
    train("dcgan", tmp_path / "a", steps=1)
    train("dcgan", tmp_path / "b", steps=1, seed=1)
    assert len(same(weights(tmp_path / "a", 1), weights(tmp_path / "b", 1))) > 20
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train("dcgan", tmp_path / "c", steps=1)
    assert torch.equal(torch.rand(1), expected)  # the caller's random state is left alone


def test_a_penalty_counts_once_however_it_is_delivered(tmp_path):
    for delivery in ("loss", "gradient"):
        for passes in (1, 2):
            config = sparse("l1", weight=5.0, delivery=delivery)
            train("cgan", tmp_path / f"{delivery}{passes}", config, accumulation=passes)
    for passes in (1, 2):
        one, other = weights(tmp_path / f"loss{passes}"), weights(tmp_path / f"gradient{passes}")
        assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    train("cgan", tmp_path / "vanilla")
    vanilla = weights(tmp_path / "vanilla")
    assert not torch.allclose(one["generator.stages.0.weight"], vanilla["generator.stages.0.weight"], atol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(tmp_path, precision, monkeypatch):
    config = sparse("l1", weight=0.1)
    for arch in ("wgan_gp", "sagan"):
        train(arch, tmp_path / arch, config, precision=precision)
        after = weights(tmp_path / arch)
        assert all(t.dtype is not torch.bfloat16 and t.isfinite().all() for t in after.values())
    meta = json.loads((tmp_path / "sagan/checkpoints/step-0000004/checkpoint.json").read_text())
    assert bool(meta["scalers"]["generator"]) == (precision == "float16")
    dies(monkeypatch, 4)
    with pytest.raises(Killed):
        train("sagan", tmp_path / "parts", config, precision=precision)
    train("sagan", tmp_path / "parts", config, precision=precision)
    assert not same(after, weights(tmp_path / "parts"))


class Poison(sparse_plugin.Penalty):
    """1, and from the fourth time on not a number."""

    def penalty(self, gamma):
        Poison.times += 1
        return gamma.mean() * 0 + (float("nan") if Poison.times > 3 else 1.0)


@pytest.mark.filterwarnings("ignore:.*")
def test_a_loss_that_is_not_a_number_stops_the_run_and_leaves_a_good_checkpoint(tmp_path):
    Poison.times = 0
    sparse_plugin.register("poison")(Poison)
    config = sparse("poison", measure_every=0)
    with pytest.raises(DivergedError) as caught:
        train("dcgan", tmp_path / "a", config, checkpoint_every=1)
    said = str(caught.value)
    assert said.startswith("a loss is no finite number in step 4 (discriminator/adversarial ")
    assert "generator/sparsity nan" in said and f"the checkpoint of step 3 in {tmp_path}/a/checkpoints is good" in said
    assert caught.value.exit_code == 1
    assert checkpoints.steps(tmp_path / "a/checkpoints") == [1, 2, 3]
    assert all(t.isfinite().all() for t in weights(tmp_path / "a", 3).values())


def test_a_weight_that_is_not_finite_gets_into_no_checkpoint(tmp_path, monkeypatch):
    step = Trainer.train_step

    def poisoned(self, number):
        step(self, number)
        if number == 3:
            with torch.no_grad():
                next(self.networks["discriminator"].module.parameters())[0] = float("inf")

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with pytest.raises(
        DivergedError, match="a weight of the discriminator is no finite number after step 4; the checkpoint of"
    ):
        train("dcgan", tmp_path / "a")
    assert checkpoints.steps(tmp_path / "a/checkpoints") == [2]


def test_the_average_follows_biggans_rule():
    """decay * average + (1 - decay) * G for parameters and statistics; a copy of what has no average."""
    torch.manual_seed(0)
    average, module = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)) for _ in range(2))
    for m in (average, module):
        m[0] = nn.utils.parametrizations.spectral_norm(m[0])
        m(torch.randn(4, 3, 8, 8))
    module(torch.randn(4, 3, 8, 8))
    before = {name: t.clone() for name, t in average.state_dict().items()}
    with torch.no_grad():
        _average(average, module, 0.1)
    for name, value in average.state_dict().items():
        source = module.state_dict()[name]
        if name.endswith(("_u", "_v", "num_batches_tracked")):
            assert torch.equal(value, source)
        else:
            assert torch.allclose(value, 0.9 * before[name] + 0.1 * source, atol=1e-6), name


def test_averaging_starts_late(tmp_path, monkeypatch):
    train("biggan", tmp_path / "a")
    found = weights(tmp_path / "a")
    ours = {n.partition(".")[2]: t for n, t in found.items() if n.startswith("generator_average.")}
    assert ours and all(torch.equal(t, found[f"generator.{name}"]) for name, t in ours.items())
    from dataclasses import replace

    import sparse_plugin.gans.train as module

    monkeypatch.setattr(module, "recipe", lambda *args: replace(recipe(*args), ema=0.5, ema_start=3))
    train("biggan", tmp_path / "b")
    g2, g4, average = weights(tmp_path / "b", 2), weights(tmp_path / "b"), "generator_average.linear.bias"
    assert torch.equal(g2[average], g2["generator.linear.bias"])
    assert not torch.equal(g4[average], g4["generator.linear.bias"])


# --- data


def batches(n=23, batch=4, shards=2, seed=0, arch="cgan", data=None):
    return Batches(data or dataset(n), recipe(arch), batch, shards, seed, torch.device("cpu"))


def test_each_epoch_is_another_permutation_and_parts_do_not_overlap():
    data = SimpleNamespace(images=torch.zeros(23, 3, 32, 32, dtype=torch.uint8), labels=torch.arange(23))
    made = batches(data=data)
    epochs = [[made.get(e * 5 + b, shard).labels.tolist() for b in range(5) for shard in range(2)] for e in range(3)]
    flat = [[label for part in parts for label in part] for parts in epochs]
    assert all(len(set(seen)) == 20 for seen in flat) and flat[0] != flat[1] != flat[2]
    assert set(flat[0] + flat[1] + flat[2]) == set(range(23))  # what one epoch leaves out, another has
    again = batches(data=data)
    assert [again.get(12, 1).labels.tolist(), again.get(3, 0).labels.tolist()] == [epochs[2][5], epochs[0][6]]
    assert batches(data=data, seed=1).get(0, 0).labels.tolist() != epochs[0][0]
    assert batches(data=data, shards=1).get(0, 0).labels.tolist() == epochs[0][0] + epochs[0][1]


def test_pixels_are_scaled_and_flipped_as_the_recipe_says():
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255
    data = SimpleNamespace(images=images, labels=torch.zeros(8, dtype=torch.int64))
    for arch, low in (("dcgan", -1), ("ssgan", 0)):
        pixels = batches(data=data, shards=1, batch=8, arch=arch).get(0, 0).images
        assert pixels[..., 0].unique().tolist() == [1.0] and pixels[..., 1:].unique().tolist() == [low]
    torch.manual_seed(0)
    pixels = batches(data=data, shards=1, batch=8, arch="diffcrbiggan").get(0, 0).images
    assert 0 < (pixels[:, 0, 0, 0] == 1).sum() < 8
    assert batches(data=data, shards=1, batch=8, arch="dcgan").get(0, 0).labels is None


def test_the_built_in_photographs_train(tmp_path):
    said = run("dcgan", tmp_path / "a", width=1 / 16, steps=1, batch=8)
    assert "1 steps of DCGAN" in said


def test_a_regularizer_without_settings_takes_the_recipes(tmp_path):
    train("dcgan", tmp_path / "a", sparse("l0_inf"))
    found = json.loads((tmp_path / "a/config.json").read_text())["sparse"]
    assert found == {"regularizer": "l0_inf", **settings("dcgan", "l0_inf")} and "k" in found

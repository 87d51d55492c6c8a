"""The trainer: runs, what they leave, and what stops them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gan_runs import CASES, Killed, dies, log, same, sparse, train, weights
from torch import nn

import sparse_plugin
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.gans import recipe, trained
from sparse_plugin.gans.train import train_run as run
from sparse_plugin.gans.trainer import Trainer, _average
from sparse_plugin.measurements.log import read
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.report import TrainingReport
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.runs.sparsity import settings


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


def test_the_built_in_photographs_train(tmp_path):
    said = run("dcgan", tmp_path / "a", width=1 / 16, steps=1, batch=8)
    assert "1 steps of DCGAN" in said


def test_a_regularizer_without_settings_takes_the_recipes(tmp_path):
    train("dcgan", tmp_path / "a", sparse("l0_inf"))
    found = json.loads((tmp_path / "a/config.json").read_text())["sparse"]
    assert found == {"regularizer": "l0_inf", **settings("dcgan", "l0_inf")} and "k" in found

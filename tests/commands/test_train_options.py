"""Every option of `train` is given to a run of a moment, and compared with the run without it."""

import json

import numpy as np
import pytest
import torch
from command_options import TRAIN, call, images
from gan_runs import weights

from sparse_plugin.measurements.log import read


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A data set, and what a run on it comes to."""
    root = tmp_path_factory.mktemp("base")
    images(root / "data")
    return root / "data", trained(root / "run", root / "data")

BASE = ["--width", 0.0625, "--batch", 4, "--steps", 2, "--log-every", 1, "--checkpoint-every", 1]

# What is given twice is given the second time.
DEVICE = ["--device", "cpu"]


def trained(run, data, *options):
    """What a run left."""
    call("train", "dcgan", "--run", run, "--data", data, *BASE, *DEVICE, *options)
    return {
        "config": json.loads((run / "config.json").read_text()),
        "logged": [record["step"] for record in read(run / "log.jsonl")],
        "losses": [record["discriminator/adversarial"] for record in read(run / "log.jsonl")],
        "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
        "samples": sorted(path.name for path in (run / "samples").iterdir()),
        "weights": weights(run, int(max(p.name for p in (run / "checkpoints").iterdir())[5:])),
    }


def differ(a, b):
    return a.keys() != b.keys() or any(a[name].shape != b[name].shape or not torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", TRAIN)
def test_train_numbers(name, base, tmp_path):
    data, without = base
    options, key, value = TRAIN[name]
    found = trained(tmp_path / "run", data, *options)
    at = found["config"]
    for part in key.split("."):
        at = at[part]
    assert at == value and differ(found["weights"], without["weights"])


def test_train_files(base, tmp_path, halves):
    """--run, --config, --import."""
    data, without = base
    (tmp_path / "a.yaml").write_text("sparse:\n  regularizer: halves\n")
    found = trained(tmp_path / "run", data, "--config", tmp_path / "a.yaml", "--import", halves)
    assert found["config"]["sparse"]["regularizer"] == "halves" and differ(found["weights"], without["weights"])
    assert "halves" in str(found["config"]["sparse"]["imports"])


def test_train_reports(base, tmp_path):
    """--checkpoint-every, --sample-every, --log-every, --keep, --keep-at."""
    data, without = base
    assert without["logged"] == [1, 2] and without["checkpoints"] == ["step-0000001", "step-0000002"]
    every = ["--steps", 4, "--log-every", 3, "--checkpoint-every", 2, "--sample-every", 3]
    found = trained(tmp_path / "a", data, *every)
    assert found["logged"] == [3, 4] and found["checkpoints"] == ["step-0000002", "step-0000004"]
    assert found["samples"] == ["step-0000003.png", "step-0000004.png"]
    assert trained(tmp_path / "b", data, "--steps", 3, "--keep", 1)["checkpoints"] == ["step-0000003"]
    kept = trained(tmp_path / "c", data, "--steps", 3, "--keep", 1, "--keep-at", 1)["checkpoints"]
    assert kept == ["step-0000001", "step-0000003"]


def test_train_data(base, tmp_path, monkeypatch):
    """--data, --split, --image-column, --label-column, --resize, --download."""
    _, without = base
    images(tmp_path / "both/train", seed=1)
    images(tmp_path / "both/test", 8, seed=2)
    found = trained(tmp_path / "a", tmp_path / "both", "--split", "test")
    assert found["config"]["data"]["images"] == 8 and differ(found["weights"], without["weights"])
    images(tmp_path / "large", side=40)
    assert "40" in call("train", "dcgan", "--run", tmp_path / "b", "--data", tmp_path / "large", *BASE, *DEVICE, code=2)
    assert trained(tmp_path / "b", tmp_path / "large", "--resize")["config"]["data"]["images"] == 12
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (9, 9)]
    np.savez(tmp_path / "a.npz", one=pixels[0], two=pixels[1], kinds=np.arange(9) % 3, sorts=np.arange(9) % 2)
    options = ["--image-column", "two", "--label-column", "kinds"]
    args = ["train", "cgan", "--data", tmp_path / "a.npz", *BASE, *DEVICE]
    call(*args, "--run", tmp_path / "c", *options)
    call(*args, "--run", tmp_path / "d", "--image-column", "one", "--label-column", "sorts")
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in "cd"]
    assert [config["classes"] for config in configs] == [3, 2]
    assert configs[0]["data"]["sha256"] != configs[1]["data"]["sha256"]
    import torchvision.datasets

    asked = []

    def fetch(self, root, train, download):
        asked.append(download)
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "__init__", fetch)
    said = call("train", "dcgan", "--run", tmp_path / "e", "--data", "cifar10", *DEVICE, code=2)
    assert "--download" in said
    call("train", "dcgan", "--run", tmp_path / "e", "--data", "cifar10", "--download", *DEVICE, code=2)
    assert asked == [False, True]


def test_train_elsewhere(base, tmp_path):
    """--device."""
    assert "the device is 'meta'" in call("train", "dcgan", "--run", tmp_path / "a", "--data", base[0], *BASE, "--device", "meta", code=2)


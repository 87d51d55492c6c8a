"""What cannot be trained or resumed, and the sentence for it."""

import json
import shutil
from types import SimpleNamespace

import pytest
from gan_runs import CASES, DATA, Killed, dataset, dies, same, sparse, train, weights

from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.runs.rundir import RunDirectory


def edited(folder, name, change):
    path = folder / "checkpoints/step-0000002" / name
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()


DAMAGE = {
    "truncated": ("generator.safetensors", lambda b: b[: len(b) // 2]),
    "one bit": ("optimizers.safetensors", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]),
    "missing": ("discriminator.safetensors", None),
    "no JSON": ("checkpoint.json", lambda b: b[:20]),
    "other JSON": ("checkpoint.json", lambda b: b"[1]"),
    "no loss scales": ("checkpoint.json", lambda b: json.dumps({**json.loads(b), "scalers": {}}).encode()),
    "loss scales of another kind": ("checkpoint.json", lambda b: json.dumps({**json.loads(b), "scalers": 3}).encode()),
    "no files": ("checkpoint.json", lambda b: json.dumps({**json.loads(b), "sha256": {}}).encode()),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_its_name(case, tmp_path, monkeypatch):
    dies(monkeypatch, 3)
    with pytest.raises(Killed):
        train("dcgan", tmp_path / "a", checkpoint_every=1)
    name, change = DAMAGE[case]
    edited(tmp_path / "a", name, change)
    with pytest.raises(CheckpointError) as caught:
        train("dcgan", tmp_path / "a", checkpoint_every=1)
    said = str(caught.value)
    assert said.startswith(f"the checkpoint {tmp_path}/a/checkpoints/step-0000002 is damaged: {name}: ")
    assert said.endswith("delete that folder to go on from step 1") and "\n" not in said
    shutil.rmtree(tmp_path / "a/checkpoints/step-0000002")
    train("dcgan", tmp_path / "a", checkpoint_every=1)
    train("dcgan", tmp_path / "b", checkpoint_every=1)
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    train("dcgan", tmp_path / "a", CASES["dcgan"])
    kept = (tmp_path / "a/config.json").read_bytes()
    other = dataset(26)
    for changes, said in (
        ({"batch": 8}, r"configuration: batch is 4 there and 8 here; name another directory"),
        ({"steps": 5, "seed": 1}, "steps is 4 there and 5 here; seed is 0 there and 1 here"),
        ({"config": sparse("l0_inf", k=0.5)}, "sparse.k is 0.25 there and 0.5 here"),
        ({"config": None}, "sparse.regularizer is 'l0_inf' there and None here"),
        ({"data": other}, "data.images is 24 there and 26 here"),
        ({"precision": "bfloat16"}, "precision is 'float32' there and 'bfloat16' here"),
    ):
        config = changes.pop("config", CASES["dcgan"])
        with pytest.raises(ConfigError, match=said):
            train("dcgan", tmp_path / "a", config, **changes)
    with pytest.raises(ConfigError, match="arch is 'dcgan' there and 'sngan' here"):
        train("sngan", tmp_path / "a", CASES["dcgan"])
    assert (tmp_path / "a/config.json").read_bytes() == kept
    train("dcgan", tmp_path / "a", CASES["dcgan"], checkpoint_every=1, log_every=7)  # intervals are free


def test_directories_of_something_else_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("precious")
    with pytest.raises(
        ConfigError, match="mine exists and is not the directory of a run; name another, nothing is written over"
    ):
        train("dcgan", tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file cannot be a run's directory: File exists"):
        train("dcgan", tmp_path / "file")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text('{"version": 99}')
    with pytest.raises(ConfigError, match="is not of version 1"):
        train("dcgan", tmp_path / "old")
    (tmp_path / "old/config.json").write_text('{"vers')
    with pytest.raises(CheckpointError, match=r"config.json is damaged"):
        train("dcgan", tmp_path / "old")


def test_two_runs_do_not_share_a_directory(tmp_path):
    with RunDirectory(tmp_path / "a").locked(), pytest.raises(ConfigError, match="a run is at work in"):
        train("dcgan", tmp_path / "a")
    train("dcgan", tmp_path / "a", steps=1)


@pytest.mark.parametrize(
    ("arch", "data", "changes", "said"),
    [
        (
            "sagan",
            dataset(labels=False),
            {},
            "sagan is class-conditional and needs a label .* and the data have none; give a folder",
        ),
        ("cgan", SimpleNamespace(images=DATA.images, labels=DATA.labels[:5]), {}, "have others"),
        (
            "dcgan",
            dataset(size=64),
            {},
            r"dcgan for 32 pixels takes images of uint8 \(N, 3, 32, 32\), and the data are uint8 \(24, 3, 64, 64\)",
        ),
        ("dcgan", SimpleNamespace(images=DATA.images.float(), labels=None), {}, "the data are float32"),
        ("dcgan", DATA, {"batch": 5, "accumulation": 2}, "a batch of 5 does not divide into 2 parts"),
        ("dcgan", DATA, {"batch": 25}, "a batch of 25 needs as many images, and there are 24"),
        ("dcgan", DATA, {"batch": 1}, "fewer than 2 images"),
        ("dcgan", DATA, {"steps": 0}, "steps is 0; give 1 or more"),
        ("dcgan", DATA, {"checkpoint_every": 0}, "checkpoint_every is 0; give 1 or more"),
        ("dcgan", DATA, {"width": 0}, "width is 0; give a factor above 0"),
        ("dcgan", DATA, {"fraction": 2}, "fraction is 2; give a share"),
        ("dcgan", DATA, {"precision": "fp16"}, "there is no precision 'fp16'.*Did you mean 'float16'"),
        ("dcgan", DATA, {"device": "tpu9"}, "the device is 'tpu9'; give cpu, cuda or"),
        ("dcgna", DATA, {}, "there is no architecture 'dcgna'.*Did you mean 'dcgan'"),
        ("cgan", dataset(size=64), {"size": 64}, "cgan is there for 32 pixels"),
    ],
)
def test_bad_input(arch, data, changes, said, tmp_path):
    with pytest.raises(ConfigError, match=said) as caught:
        train(arch, tmp_path / "a", data=data, **changes)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("a/[!.]*/*"))  # no checkpoint, no sample


def test_what_is_not_installed_is_said_before_anything_starts(tmp_path, monkeypatch):
    from sparse_plugin.support import optional

    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="training needs safetensors, not installed here"):
        train("dcgan", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_wrong_regularizer_leaves_no_directory_behind(tmp_path):
    for config, said in (
        (sparse("l0inf", k=1), "there is no regularizer 'l0inf'"),
        (sparse("l0", j=1), "there is no field 'j'"),
    ):
        with pytest.raises(ConfigError, match=said):
            train("dcgan", tmp_path / "a", config)
    assert not (tmp_path / "a").exists()

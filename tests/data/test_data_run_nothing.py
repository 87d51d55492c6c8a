"""Data never run code: for every file that is read, one whose reading would leave a mark, which it does not."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from generators import Residual

from sparse_plugin import Attachment, SparsityConfig, attach
from sparse_plugin.attachment.child import encode
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import CheckpointError, ConfigError, SparsePluginError
from sparse_plugin.evaluate.sampling import GeneratorSpec, sampler
from sparse_plugin.hosts import current, enable
from sparse_plugin.registry import REGULARIZERS

REGISTERS = """
import pathlib
from sparse_plugin import Constraint, register
pathlib.Path({mark!r}).touch()

@register("of_a_file")
class OfAFile(Constraint):
    scale: float = 0.5

    def project(self, gamma):
        return gamma * (gamma.abs() > self.scale)
"""


class Touch:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The mark. No test may end with it there."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists()


@pytest.fixture
def file(mark, tmp_path):
    """A Python file that leaves the mark when it is imported."""
    path = tmp_path / "named_by_data.py"
    path.write_text(REGISTERS.format(mark=str(mark)))
    return path


def settings(file, **more):
    """What somebody wrote into a checkpoint or a run's configuration."""
    return {
        "regularizer": "l0_inf",
        "k": 2,
        "imports": [str(file)],
        "generator": "os:system",
        "host": "nobody",
        "run_dir": str(file.parent / "elsewhere"),
        "measure_every": 1,
        "enabled": False,
        "accumulation": 7,
        **more,
    }


def checkpoint(path, held):
    """A checkpoint of a generator whose settings are held."""
    state = {**Residual().state_dict(), "out.sparse_plugin._extra_state": encode(held)}
    torch.save(state, path)
    return path


def run(*command):
    return CliRunner().invoke(cli, [str(word) for word in command])


def test_settings_are_the_regularizers_own_fields_and_sites(file):
    config = SparsityConfig.from_data(settings(file, sites=["out"]), "the run")
    assert config.flat() == {"regularizer": "l0_inf", "k": 2, "sites": ["out"]}


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (None, "should hold a regularizer and its settings"),
        ([1], "should hold a regularizer and its settings"),
        ({"k": 2}, "should hold a regularizer and its settings"),
        ({"regularizer": ["l0", 5]}, "should hold a regularizer and its settings"),
        ({"regularizer": "l0", "k": 2, "no_field": 1}, "there is no field 'no_field'"),
        ({"regularizer": "l0", "k": "2"}, "settings that are not valid"),
        ({"regularizer": "ml_csc", "k": 2, "levels": 10**12}, "settings that are not valid"),
        ({"regularizer": "of_nobody"}, "the file or module that registers it by imports="),
        ({"regularizer": "of_nobody", "imports": "x.py"}, "the file or module that registers it by imports="),
        ({"regularizer": "of_nobody", "imports": ["a b.py", 5]}, "a b.py"),
        ({"regularizer": "of_nobody", "imports": ["\x1b]0;x\x07.py"]}, r"\x1b]0;x\x07.py"),
    ],
)
def test_settings_that_are_none(found, sentence):
    with pytest.raises(CheckpointError) as raised:
        SparsityConfig.from_data(found, "the run")
    assert sentence in str(raised.value) and str(raised.value).isprintable()


def test_a_checkpoint_under_the_launcher(file, monkeypatch):
    """A host's sampling script, which loads a checkpoint that names a file to import."""
    monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", json.dumps({"generator": "generators:Residual"}))
    monkeypatch.setattr("sys.excepthook", lambda *error: None)
    enable.boot()
    generator = Residual()
    generator.load_state_dict(torch.load(checkpoint("c.pth", settings(file))))
    config = current.session().config
    assert str(Attachment.of(generator).regularizer) == "l0_inf(k=2)"
    assert config.flat() == {"regularizer": "l0_inf", "k": 2, "generator": "generators:Residual"}
    assert not Path("elsewhere").exists()


def test_a_checkpoint_of_a_file_that_the_user_names(file, mark):
    """The same file, typed by the user, is imported."""
    held = {"regularizer": "of_a_file", "scale": 0.25, "imports": [str(file)]}
    checkpoint("c.pth", held)
    command = ["evaluate", "c.pth", "--generator", "generators:Residual", "--input", "2x6"]
    refused = run(*command)
    assert refused.exit_code == 2 and f"--import {file}" in refused.output and not mark.exists()
    try:
        run(*command, "--import", file, "--samples", "1")
        assert mark.exists() and "of_a_file" in REGULARIZERS.all()
        state = sampler("c.pth", GeneratorSpec("generators:Residual", (), ("2x6",)))
        assert str(Attachment.of(state.generator).regularizer) == "of_a_file(scale=0.25)"
    finally:
        REGULARIZERS.unregister("of_a_file")
        mark.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the reference trainer, of one step."""
    from sparse_plugin.gans.train import train_run as train

    folder = tmp_path_factory.mktemp("runs") / "run"
    sparse = SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 0.5})
    train("dcgan", folder, sparse=sparse, width=1 / 16, batch=4, steps=1)
    return folder


@pytest.fixture
def changed(trained, tmp_path):
    """A copy of it in whose configuration sparse is changed."""
    import shutil

    def change(**sparse):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(trained, folder)
        config = json.loads((folder / "config.json").read_text())
        config["sparse"] = {**config["sparse"], **sparse}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return change


def test_a_run_directory(changed, file):
    from sparse_plugin.gans.trained import load_trained as load

    more = settings(file, k=0.5)
    assert str(Attachment.of(load(changed(**more)).generator).regularizer) == "l0_inf(k=0.5)"
    folder = changed(regularizer="of_a_file", imports=[str(file)])
    for command in (
        ["evaluate", folder],
        ["figure", "A", folder, "-o", "a.png"],
        ["figure", "4a", folder, "-o", "b.png"],
    ):
        done = run(*command)
        assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    assert f"--import {file}" in run("evaluate", folder).output


@pytest.mark.parametrize("name", ["checkpoint.json", "result.json", "log.jsonl"])
def test_what_else_stands_in_a_run(changed, file, mark, name):
    """Files of a run in which a pickle, or settings, stand."""
    folder = changed()
    path = folder / ("checkpoints/step-0000001/checkpoint.json" if name == "checkpoint.json" else name)
    for held in (pickle.dumps(Touch(mark)), json.dumps(settings(file)).encode(), b'{"sha256": {"../../x": "0"}}'):
        path.write_bytes(held)
        for command in (
            ["figure", "4a", folder, "-o", "b.png"],
            ["figure", "training", folder, "-o", "c.png", "--force"],
        ):
            done = run(*command)
            assert done.exit_code in (0, 2) and isinstance(done.exception, (SystemExit, type(None))), done.exception


@pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
def test_pickles(name, mark):
    Path(name).write_bytes(pickle.dumps({"w": Touch(mark)}, protocol=2))
    for command in (
        ["strip", name, "-o", f"out-{name}"],
        ["evaluate", name, "--generator", "generators:Residual", "--input", "2x6"],
    ):
        done = run(*command)
        assert done.exit_code == 2 and f"the checkpoint {name} cannot be read" in done.output, done.output
    torch.save({"w": Touch(mark)}, "zipped.pth")
    assert "cannot be read" in run("strip", "zipped.pth", "-o", "out.pth").output
    assert not list(Path().glob("out*"))


def test_the_cache_of_features(mark, tmp_path):
    from sparse_plugin.metrics.features import _stored

    torch.save({"features": Touch(mark)}, tmp_path / "f.pt")
    (tmp_path / "g.pt").write_bytes(pickle.dumps(Touch(mark)))
    assert _stored(tmp_path / "f.pt", (2, 2)) is None and _stored(tmp_path / "g.pt", (2, 2)) is None


def test_the_cache_of_kernels(mark, tmp_path, monkeypatch):
    """A library is loaded from a folder that nobody else can write to, and only if it is what its name says."""
    from sparse_plugin.support import cache

    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "kernels"))
    folder = cache.open_directory()
    (folder / cache.name("key", b"one")).write_bytes(b"another")
    assert cache.find(folder, "key")[0] is None
    folder.chmod(0o777)
    with pytest.raises(cache.CacheError, match="can be written by other users"):
        cache.open_directory()


def test_arrays(mark):
    from sparse_plugin.data import load

    images = np.array([Touch(mark)], dtype=object)
    np.savez("images.npz", images=images)
    with pytest.raises(SparsePluginError, match="no plain array"):
        load("images.npz")


TAGS = "!!python/object/apply:os.system ['touch mark']"


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--config", "c.yaml", "--", "python", "-c", "1"],
        ["run", "--sparse", "l0", "--set", f"sparse.k={TAGS}", "--", "python", "-c", "1"],
        ["sites", "generators:Residual", "--arg", TAGS],
        ["sites", "generators:Residual", "--arg", f"width={TAGS}"],
        ["experiment", "table1", "--methods", f"l0:k={TAGS}", "--dry-run"],
    ],
    ids=" ".join,
)
def test_yaml(mark, command):
    Path("c.yaml").write_text(f"sparse:\n  regularizer: l0\n  k: {TAGS}\n")
    done = run(*command)
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output


@pytest.mark.parametrize(
    "what", ["os:system", "subprocess:getoutput", "builtins:eval", "subprocess:Popen", "os:_exit", "generators:noise"]
)
def test_what_is_no_class_of_modules_is_not_called(mark, what):
    for command in (
        ["sites", what, "--arg", "touch mark"],
        ["evaluate", "c.pth", "--generator", what, "--arg", "touch mark"],
    ):
        done = run(*command)
        assert done.exit_code == 2 and "is no torch.nn.Module class" in done.output, done.output


def test_settings_of_a_checkpoint_are_compared_and_not_followed(file):
    """A generator that is attached already refuses others, whatever they name."""
    generator = Residual()
    attach(generator, "l0_inf", k=2, sites="out")
    state = {**generator.state_dict(), "out.sparse_plugin._extra_state": encode(settings(file))}
    generator.load_state_dict(state)
    assert str(Attachment.of(generator).regularizer) == "l0_inf(k=2)"
    for held in (settings(file, k=3), settings(file, more=1)):
        with pytest.raises(CheckpointError, match="was trained with"):
            generator.load_state_dict({**state, "out.sparse_plugin._extra_state": encode(held)})


def test_the_environment(monkeypatch):
    for text, sentence in (
        ("{", "is no JSON"),
        ('{"regularizer": 5}', "SPARSE_PLUGIN_CONFIG"),
        ("[" * 10**6, "cannot be read"),
    ):
        monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", text)
        with pytest.raises(ConfigError, match=sentence):
            SparsityConfig.from_environment()

"""Settings from keywords, files and the environment."""

import pytest

from sparse_plugin.config import SparsityConfig, assign
from sparse_plugin.errors import ConfigError

YAML = "version: 1\nsparse:\n  regularizer: l0_inf\n  k: 16\n  sites: [c5]\n"
TOML = 'version = 1\n[sparse]\nregularizer = "l0_inf"\nk = 16\nsites = ["c5"]\n'


@pytest.mark.parametrize(("name", "text"), [("a.yaml", YAML), ("a.yml", YAML), ("a.toml", TOML)])
def test_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    config = SparsityConfig.from_file(tmp_path / name)
    assert (config.regularizer, config.settings, config.sites) == ("l0_inf", {"k": 16}, ["c5"])
    assert str(config.build()) == "l0_inf(k=16)"


def test_the_environment_carries_everything(monkeypatch, tmp_path):
    config = SparsityConfig.from_mapping(
        {"regularizer": "ml_csc", "k": [1, 0.5], "measure_every": 7, "generator": "a.b:C", "enabled": False}
    )
    monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", config.to_environment())
    assert SparsityConfig.from_environment() == config
    (tmp_path / "a.yaml").write_text(YAML)
    monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", str(tmp_path / "a.yaml"))
    assert SparsityConfig.from_environment().settings == {"k": 16}
    monkeypatch.delenv("SPARSE_PLUGIN_CONFIG")
    assert SparsityConfig.from_environment() is None


def test_one_and_one_point_zero_stay_apart(monkeypatch):
    for value, kept in (("1", 1), ("1.0", 1.0)):
        config = SparsityConfig.from_mapping(assign({"regularizer": "l0"}, [f"sparse.k={value}"]))
        monkeypatch.setenv("SPARSE_PLUGIN_CONFIG", config.to_environment())
        k = SparsityConfig.from_environment().build().k
        assert k == kept and type(k) is type(kept)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read: No such file"),
        ("sparse: [", "is malformed"),
        ("sparse: 3", "has no section `sparse:`"),
        ("- a", "has no section `sparse:`"),
        ("version: 2\nsparse: {regularizer: l1}", "is of version 2; this sparse_plugin reads version 1"),
        ("sparse: {k: 3}", "no regularizer is named"),
        ("sparse: {regularizer: l0, enabled: 3}", "sparse.enabled is 3"),
        ("sparse: {regularizer: l0, generator: Generator}", 'write "module:Class"'),
        ("sparse: {regularizer: l0, delivery: mail}", "sparse.delivery is 'mail'"),
        ("sparse: {regularizer: l0, accumulation: 0}", "sparse.accumulation is 0"),
        ("sparse: {regularizer: l0, measure_every: -1}", "sparse.measure_every is -1"),
    ],
)
def test_bad_files(tmp_path, text, sentence):
    file = tmp_path / "sparse.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        SparsityConfig.from_file(file)
    assert "sparse.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_malformed_toml_and_binary(tmp_path):
    (tmp_path / "a.toml").write_text("[sparse")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("a.toml", "a.yaml"):
        with pytest.raises(ConfigError, match=r"is malformed|not UTF-8"):
            SparsityConfig.from_file(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["k=3", "sparse.k", "sparse=3", "host.k=3", "sparse.k:=3", "sparse.k=[", "sparse.a-b=3"]
)
def test_bad_assignments(text):
    with pytest.raises(ConfigError, match="--set"):
        assign({}, [text])


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "0.001", "1.0e-3"])
def test_numbers_as_people_write_them(text, tmp_path):
    """YAML 1.1 takes 1e-3 for a word."""
    assert assign({}, [f"sparse.weight={text}"]) == {"weight": 0.001}
    file = tmp_path / "a.yaml"
    file.write_text(f"sparse:\n  regularizer: l1\n  weight: {text}\n")
    assert SparsityConfig.from_file(file).build().weight == 0.001
    assert assign({}, ["sparse.run_dir=run1e", "sparse.k=12"]) == {"run_dir": "run1e", "k": 12}

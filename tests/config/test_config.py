"""Settings from keywords, files and the environment."""

import os

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
        ("sparse: {regularizer: l0, k: 3, k: 4}", "the key 'k' stands there twice, in line 1; leave one of them out"),
        ("sparse: {regularizer: l1}\n\nsparse: {regularizer: l0}", "the key 'sparse' stands there twice, in lines 1 and 3"),
        ("sparse:\n  regularizer: l0\n  k:\n    start: 1.0\n    end: 0.5\n    start: 0.9", "the key 'start' stands there twice, in lines 4 and 6"),
        ("sparse:\n  regularizer: l0\n  k: {auto:0.5}", "'auto:0.5' in line 3 is one word to YAML; write a space after its colon, 'auto: 0.5'"),
        ("sparse: {regularizer: l0, k:3}", "'k:3' in line 1 is one word to YAML"),
    ],
)
def test_bad_files(tmp_path, text, sentence):
    file = tmp_path / "sparse.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        SparsityConfig.from_file(file)
    assert "sparse.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_that_is_merged_and_said_stands_once(tmp_path):
    file = tmp_path / "sparse.yaml"
    file.write_text("a: &a {k: 1, delivery: loss}\nb: &b {<<: *a, k: 2}\nsparse:\n  <<: *b\n  k: 3\n  regularizer: l0\n  delivery: gradient\n")
    assert SparsityConfig.from_file(file).build().k == 3


def test_malformed_toml_and_binary(tmp_path):
    (tmp_path / "a.toml").write_text("[sparse")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("a.toml", "a.yaml"):
        with pytest.raises(ConfigError, match=r"is malformed|not UTF-8"):
            SparsityConfig.from_file(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["k=3", "sparse.k", "sparse=3", "host.k=3", "sparse.k:=3", "sparse.k=[", "sparse.a-b=3", "sparse.k={auto: 1, auto: 0.5}"]
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


PATHS = {
    "main.12": ["main.12"],
    "[main.12]": ["main.12"],
    "2": ["2"],
    "1.10": ["1.10"],
    "[1.10, '3', on, 0x1]": ["1.10", "3", "on", "0x1"],
    "1.2:output": ["1.2:output"],
    '"a.b"': ["a.b"],
}


@pytest.mark.parametrize(("text", "sites"), PATHS.items(), ids=PATHS)
def test_a_path_is_text_in_files_and_assignments(tmp_path, text, sites):
    file = tmp_path / "a.yaml"
    file.write_text(f"sparse:\n  regularizer: l0\n  k: 1\n  sites: {text}\n")
    assert SparsityConfig.from_file(file).sites == sites
    mapping = assign({"regularizer": "l0", "k": 1}, [f"sparse.sites={text}"])
    assert SparsityConfig.from_mapping(mapping).sites == sites


def test_one_path_is_a_list_of_one(tmp_path):
    make = SparsityConfig.from_mapping
    assert make({"regularizer": "l0", "k": 1, "sites": "c5"}).sites == ["c5"]
    assert make({"regularizer": "l0", "k": 1, "sites": 5}).sites == ["5"]
    assert make({"regularizer": "l0", "k": 1, "sites": ("a", 2)}).sites == ["a", "2"]
    (tmp_path / "a.toml").write_text('[sparse]\nregularizer = "l0"\nk = 1\nsites = "main.12"\nimports = "mine.py"\n')
    config = SparsityConfig.from_file(tmp_path / "a.toml")
    assert config.sites == ["main.12"] and config.imports == [str(tmp_path / "mine.py")]
    for value, sentence in (
        (1.1, "put a path with a point in quotes"),
        (True, "is True"),
        (None, "is None"),
        ({"a": 1}, "valid list"),
        ("C:\new", "single quotes"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            make({"regularizer": "l0", "k": 1, "sites": value})


def test_files_to_import_are_looked_for_beside_the_file_that_names_them(tmp_path, monkeypatch):
    (tmp_path / "project" / "sub").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    for place in ("project/a.py", "project/sub/b.py", "here/a.py", "here/c.py"):
        (tmp_path / place).touch()
    file = tmp_path / "project" / "a.yaml"
    file.write_text("sparse:\n  regularizer: l0\n  imports: [a.py, sub/b.py, 'sub\\b.py', c.py, none.py, package.module]\n")
    monkeypatch.chdir(tmp_path / "here")
    found = SparsityConfig.from_file(file).imports
    assert found[:2] == [str(tmp_path / "project" / name) for name in ("a.py", "sub/b.py")]
    assert found[2].replace("\\", "/") == found[1]
    assert found[3:] == [str(tmp_path / "here" / "c.py"), str(tmp_path / "project" / "none.py"), "package.module"]


def test_paths_with_backslashes(tmp_path):
    file = tmp_path / "a.yaml"
    for written in (r"C:\runs\new", r"'C:\runs\new'", r'"C:\\runs\\new"'):
        file.write_text(f"sparse:\n  regularizer: l0\n  run_dir: {written}\n")
        assert SparsityConfig.from_file(file).run_dir == r"C:\runs\new"
    for written in (r'"C:\runs\new"', r'"C:\Users\me"'):
        file.write_text(f"sparse:\n  regularizer: l0\n  run_dir: {written}\n")
        with pytest.raises(ConfigError, match="backslashes stands? in single"):
            SparsityConfig.from_file(file)


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (("sparse.k=16",), "--set sparse.k=16 is given without --sparse NAME, and it is a field of l0, l0_batch, l0_channel, l0_inf, ml_csc"),
        (("sparse.weight=1",), "without --sparse NAME, and it is a field of coherence, l1"),
        (("sparse.site=a",), "without --sparse NAME, and there is no key 'site'; .* Did you mean 'sites'?"),
    ],
)
def test_a_field_without_a_regularizer(assignments, sentence):
    from sparse_plugin.commands.options import config_of

    with pytest.raises(ConfigError, match=sentence):
        config_of(None, None, assignments, ())
    assert config_of(None, None, ("sparse.sites=a", "sparse.imports=mine.py"), ()).imports == [os.path.abspath("mine.py")]

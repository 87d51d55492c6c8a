"""Runs of GANs whose regularizer changes over training: resumed to the bit, read again, and refused where they are too short."""

import pytest
from gan_runs import Killed, dies, log, same, sparse, train, weights

from sparse_plugin.errors import ConfigError
from sparse_plugin.gans.trained import load_trained
from sparse_plugin.runs.methods import methods, split

SETTINGS = {
    "schedule": {"start": 1.0, "end": 0.25, "steps": 3},
    "auto": {"auto": 0.5, "measure": 2, "steps": 1, "shape": "linear"},
}


@pytest.mark.parametrize("arch", ["dcgan", "biggan"])  # biggan has an EMA
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, monkeypatch, arch, kind):
    config = sparse("l0_inf", k=SETTINGS[kind], measure_every=1)
    train(arch, tmp_path / "whole", config)
    dies(monkeypatch, 3)
    with pytest.raises(Killed):
        train(arch, tmp_path / "parts", config)
    train(arch, tmp_path / "parts", config)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    whole, parts = (log(tmp_path / name, "sparsity.jsonl") for name in ("whole", "parts"))
    assert {line["step"]: line["k"] for line in whole} == {line["step"]: line["k"] for line in parts}
    if kind == "schedule":
        assert [line["k"] for line in whole] == [1.0, 0.75, 0.5, 0.25]
    measured = load_trained(tmp_path / "whole").measure(8)
    assert measured[0].settings["k"] == pytest.approx(whole[-1]["k"], rel=1e-6)


def test_a_run_too_short_to_measure():
    with pytest.raises(ConfigError, match="over the first 500 steps, and this run has 4; give it fewer, as in k="):
        train("dcgan", "nowhere", sparse("l0_inf", k="auto"))


def test_a_run_that_ends_within_its_schedule(tmp_path, caplog):
    train("dcgan", tmp_path, sparse("l0", k={"start": 1.0, "end": 0.5, "steps": 100}), steps=2)
    assert "goes on changing up to step 100, and this run ends at step 2" in caplog.text


def test_as_methods_of_a_table():
    asked = split(["vanilla,l0_inf:k=auto,l0:k={start: 1.0, end: 0.25, steps: 10},ml_csc:k=[0.5,0.25]"])
    labels = [method.label for method in methods(asked, "dcgan")]
    assert labels == ["vanilla", "l0_inf-k=auto", "l0-k=start=1.0+end=0.25+steps=10", "ml_csc-k=0.5+0.25"]

"""Runs of GANs and restorations with several regularizers: resumed to the bit, sampled, measured and logged."""

import pytest
import torch
from gan_runs import Killed, dies, log, same, train, weights

from sparse_plugin import SparsityConfig
from sparse_plugin.gans.trained import load_trained
from sparse_plugin.restore import Denoise, restore

BATCH = SparsityConfig.from_mapping({"regularizer": "l0_batch", "k": 0.25, "measure_every": 1})
BOTH = SparsityConfig.from_mapping(
    {"regularizer": ["l1", "l0_inf"], "l1": {"weight": 0.1}, "l0_inf": {"k": {"start": 1.0, "end": 0.25, "steps": 3}}, "measure_every": 1}
)


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, monkeypatch):
    train("biggan", tmp_path / "whole", BOTH)
    dies(monkeypatch, 3)
    with pytest.raises(Killed):
        train("biggan", tmp_path / "parts", BOTH)
    train("biggan", tmp_path / "parts", BOTH)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    lines = log(tmp_path / "whole", "sparsity.jsonl")
    assert [line["regularizer"] for line in lines] == ["l1", "l0_inf"] * 4
    assert [line["k"] for line in lines[1::2]] == [1.0, 0.75, 0.5, 0.25] and all(line["penalty"] > 0 for line in lines[::2])
    measured = load_trained(tmp_path / "whole").measure(8)
    assert [m.regularizer for m in measured] == ["l1", "l0_inf"] and measured[1].sparsity <= 25


def test_a_threshold_is_resumed_to_the_bit_and_samples_with(tmp_path, monkeypatch):
    train("dcgan", tmp_path / "whole", BATCH)
    dies(monkeypatch, 3)
    with pytest.raises(Killed):
        train("dcgan", tmp_path / "parts", BATCH)
    train("dcgan", tmp_path / "parts", BATCH)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    (memory,) = (t for name, t in weights(tmp_path / "whole").items() if name.endswith("sparse_plugin.memory"))
    assert memory[0] > 0 and memory[1] == 1
    # After four steps BatchNorm's running statistics are far from a batch's: what evaluation keeps may be nothing yet.
    one, other = (load_trained(tmp_path / name).measure(8)[0] for name in ("whole", "parts"))
    assert one.sparsity == other.sparsity < one.sparsity_before


def test_a_restoration():
    image = torch.rand(64, 64, 3).numpy()
    alone = SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 0.25})
    both = SparsityConfig.from_mapping({"regularizer": ["l0_inf", "l0"], "l0_inf": {"k": 0.25}, "l0": {"k": 1.0}})
    one, other = (restore(image, Denoise(25), sparse=sparse, iterations=3, width=0.1, seed=0) for sparse in (alone, both))
    assert (one.average == other.average).all()

"""A lower precision that is slower here is said to be."""

import os
import platform
import re
import subprocess
import sys

import pytest
import torch
from gan_runs import train

from sparse_plugin.support import precision

TELL = "import torch; from sparse_plugin.support.precision import tell; tell('bfloat16', torch.device('cpu'))"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's switch is of x86")
def test_without_the_instructions_the_measured_ratio_is_said():
    """oneDNN is told to use no more than AVX2, which has none for bfloat16."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", TELL], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"bfloat16 takes ([\d.]+) times as long as float32 on this CPU, measured now", done.stderr)
    assert len(said) == 1 and float(said[0]) > precision.WORTH_SAYING


@pytest.mark.parametrize(("ratio", "words"), [(0.4, 0), (1.1, 0), (7.0, 1)])
def test_only_a_slower_one_is_worth_a_word(ratio, words, tmp_path, monkeypatch, caplog):
    asked = []
    monkeypatch.setattr(precision, "slowdown", lambda name: asked.append(name) or ratio)
    train("dcgan", tmp_path / "a", steps=1, precision="bfloat16")
    assert asked == ["bfloat16"] and len([r for r in caplog.records if "times as long" in r.getMessage()]) == words
    asked.clear()
    train("dcgan", tmp_path / "b", steps=1)
    assert asked == []


def test_restoring_says_it_too(monkeypatch, caplog):
    import numpy as np

    from sparse_plugin.restore import restore

    monkeypatch.setattr(precision, "slowdown", lambda name: 3.0)
    image = np.zeros((64, 64), np.float32)
    restore(image, iterations=1, stop=None, width=1 / 16, scales=2, precision="bfloat16", progress=False, device="cpu")
    assert "bfloat16 takes 3.0 times as long as float32" in caplog.text


def test_measuring_draws_no_random_numbers():
    state = torch.get_rng_state()
    precision.slowdown.__wrapped__("bfloat16")
    assert torch.equal(torch.get_rng_state(), state)

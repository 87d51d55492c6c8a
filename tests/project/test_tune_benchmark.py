"""The comparison of `tune` with a grid: what it spends, on which seeds, and what it prints."""

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("torch_fidelity")

ROOT = Path(__file__).parents[2]


def test_the_choice_of_tune_is_compared_on_fresh_seeds(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = importlib.import_module("tune")
    trained, raced = [], []
    monkeypatch.setattr(benchmark, "train", lambda given, methods, first, seeds: trained.append((methods, first, seeds)))
    scores = {"l0_inf-k=0.1": 9.0, "l0_inf-k=0.25": 5.0, "l0_inf-k=0.4": 4.0, "l0_inf-k=0.6": 6.0, "l0_inf-k=1.0": 7.0}
    monkeypatch.setattr(
        benchmark, "values", lambda given, method, first, seeds: [scores.get(method, 3.9) * (1 + i / 100) for i in range(seeds)]
    )

    def tune(target, out, **asked):
        raced.append((target.arch, target.steps, target.first_seed, asked["budget"], asked["seeds"]))
        ranking = {"chosen": "l0_inf-k=0.3", "sentence": "It came out best.", "natural_density": [0.6], "whole_runs": 4.5, "command": "at home"}
        out.mkdir(parents=True)
        (out / "ranking.json").write_text(json.dumps(ranking))
        return "", 0

    monkeypatch.setattr(benchmark, "tune", tune)
    benchmark.main(["--data", "images.zip", "--record", str(tmp_path / "runs.jsonl"), "--steps", "800", "--out", str(tmp_path)])
    assert raced == [("dcgan", 800, 220, "3600", 2)]  # 0.3 of five runs on three seeds
    assert trained == [([f"l0_inf:k={k}" for k in benchmark.GRID], 200, 3), (["l0_inf:k=0.4", "l0_inf:k=0.3"], 210, 3)]
    printed = capsys.readouterr().out
    assert "| l0_inf-k=0.3 | 3.9 | 3.9 | 4.0 | 3.9 |" in printed and "| l0_inf-k=0.4 | 4.0 |" in printed and "Change -2.5 %" in printed
    assert "`tune` took 3,600 steps, the grid 12,000, on a natural density of 60.0 %. It said: `It came out best.`" in printed
    benchmark.main(["--record", str(tmp_path / "runs.jsonl"), "--steps", "800", "--collect"])
    assert "at home" not in (tmp_path / "tune-dcgan.json").read_text()
    assert printed.endswith(capsys.readouterr().out) and len(raced) == 1
    from sparse_plugin.tune.budget import Budget, plan

    assert plan(Budget(steps=3600), 3, 2, 800, True)  # which three levels on two seeds fit into

"""The comparison of `k: auto` with a grid: which runs it asks for, on which seeds, and what it prints."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch_fidelity")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_auto", ROOT / "benchmarks" / "auto.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_best_of_the_grid_is_chosen_on_seeds_of_its_own(benchmark, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        benchmark, "run_gan_table", lambda name, out, data, **more: asked.append((more["methods"], more["first_seed"], more["seeds"])) or ("", 0)
    )
    scores = {"l0_inf-k=0.1": 9.0, "l0_inf-k=0.25": 5.0, "l0_inf-k=0.4": 4.0, "l0_inf-k=0.6": 6.0, "l0_inf-k=1.0": 7.0}
    monkeypatch.setattr(
        benchmark, "values", lambda given, method, first, seeds: [scores.get(method, 3.9) * (1 + i / 100) for i in range(seeds)]
    )
    benchmark.main(["--data", "images.zip", "--record", "runs.jsonl", "--steps", "800"])
    auto = "l0_inf:k={auto: 0.5, measure: 100, steps: 300}"
    assert asked == [([f"l0_inf:k={k}" for k in benchmark.GRID], 200, 2), (["l0_inf:k=0.4", auto], 210, 3)]
    printed = capsys.readouterr().out
    assert "|  | l0_inf-k=0.1 | l0_inf-k=0.25 | l0_inf-k=0.4 | l0_inf-k=0.6 | l0_inf-k=1.0 |" in printed
    assert "| seed 201 | 9.1 | 5.0 | 4.0 | 6.1 | 7.1 |" in printed and "| mean | 9.0 | 5.0 | 4.0 | 6.0 | 7.0 |" in printed
    assert "|  | seed 210 | seed 211 | seed 212 | mean |" in printed and "| l0_inf-k=0.4 | 4.0 | 4.0 | 4.1 | 4.0 |" in printed
    assert "Change -2.5 % (95 % interval -2.5 to -2.5; p 0.25, which so many pairs cannot bring below 0.25)." in printed
    benchmark.main(["--record", "runs.jsonl", "--steps", "800", "--collect"])
    assert capsys.readouterr().out == printed and len(asked) == 2
    with pytest.raises(SystemExit, match="no images were given to train on: name them by --data"):
        benchmark.main(["--record", "runs.jsonl", "--steps", "800"])


def test_what_is_recorded_is_read_and_what_is_not_is_named(benchmark):
    given = benchmark.argparse.Namespace(record=ROOT / "docs/results/runs.jsonl", arch="dcgan", width=0.25, steps=10_000)
    (value,) = benchmark.values(given, "vanilla", 100, 1)
    assert 0 < value < 1000
    with pytest.raises(SystemExit, match="vanilla is not recorded on all of the seeds 900 to 901"):
        benchmark.values(given, "vanilla", 900, 2)

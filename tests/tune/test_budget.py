"""Rungs within a budget."""

import itertools

import pytest

from sparse_plugin.errors import ConfigError
from sparse_plugin.tune.budget import FIRST, Budget, Rung, cost, plan


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("candidates", [1, 2, 5, 12, 40])
@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.62, 1.0])
def test_a_plan_stays_within_its_budget_and_ends_with_whole_runs_of_all_seeds(stops, candidates, seeds, share):
    full = (candidates + 1) * seeds
    try:
        rungs = plan(Budget(share=share), candidates, seeds, 4000, stops)
    except ConfigError as error:
        assert share < 1 and "too small for one rung" in str(error)
        # What the sentence says is enough is enough.
        enough = str(error).partition("--budget ")[2].partition(" ")[0]
        rungs = plan(Budget.parse(enough), candidates, seeds, 4000, stops)
        assert float(enough) > share
    else:
        assert cost(rungs) <= share * full * 1.000001
    assert rungs[0].candidates == candidates and (rungs[-1].share, rungs[-1].seeds) == (1, seeds)
    for before, after in itertools.pairwise(rungs):
        assert after.candidates <= before.candidates
        assert (after.share > before.share) if stops else (after.seeds == before.seeds + 1)
    assert rungs[0].share >= FIRST
    if share == 1:
        assert cost(rungs) == pytest.approx(full)


def test_what_a_race_costs():
    # 13 runs up to a half, then vanilla and one other to the end, of each of two seeds.
    assert cost((Rung(0.5, 2, 12), Rung(1.0, 2, 1))) == pytest.approx(2 * (13 * 0.5 + 2 * 0.5))
    assert cost((Rung(1.0, 1, 12), Rung(1.0, 2, 3))) == 13 + 4


def test_steps_are_a_budget_too():
    assert Budget.parse("20000") == Budget(steps=20000) and Budget.parse("0.3") == Budget(share=0.3)
    assert Budget.parse("1") == Budget(share=1.0)
    assert cost(plan(Budget(steps=30_000), 12, 2, 4000, True)) * 4000 <= 30_000
    with pytest.raises(ConfigError, match="how many a run of this trainer has is not known; say it by --steps"):
        plan(Budget(steps=30_000), 12, 2, None, False)
    with pytest.raises(ConfigError, match=r"a budget of 10 steps is too small for one rung.*\(\d+ steps\) or more"):
        plan(Budget(steps=10), 12, 2, 4000, True)


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "much", "nan", "inf", ""])
def test_what_is_no_budget(text):
    with pytest.raises(ConfigError, match="is no budget; give a share of the full grid"):
        Budget.parse(text)


def test_a_run_of_few_steps_has_few_rungs():
    rungs = plan(Budget(share=0.6), 9, 2, 8, True)
    assert len({round(rung.share * 8) for rung in rungs}) == len(rungs)

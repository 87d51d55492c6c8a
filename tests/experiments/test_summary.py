"""The two sentences of all recorded runs."""

import pytest
from recorded_restorations import lines
from recorded_runs import FACTORS, sweep

from sparse_plugin.experiments import comparison, restored_page
from sparse_plugin.experiments.summary import summary


def of(*several):
    return comparison.groups([record for records in several for record in records])


def test_what_is_told_apart_has_interval_and_p_and_the_rest_its_pairs():
    said = summary(of(sweep(8, **FACTORS)))
    first, second = said.split(" Not told apart: ")
    assert first.startswith("By the rule these are told apart: DCGAN, width 0.25, 10 steps of 64 images, float32, mean of FD-lite0 at 6, 8 and 10 steps: ")
    (group,) = of(sweep(8, **FACTORS))
    by = {(found.method, found.base): found.change for found in group.compared}
    for method, base, word in (("l0_inf-k=0.25", "vanilla", "better"), ("l1-weight=10.0", "vanilla", "worse"), ("ml_csc-k=0.25", "ml_csc-k=1.0", "better")):
        change = by[method, base]
        told = f"{method} is {word} than {base} ({change.mean:+.1f} %, 95 % interval {change.low:+.1f} to {change.high:+.1f}, p by Holm {change.adjusted:.2g}, 8 pairs)"
        assert told in first
    assert second.endswith(": l0-k=0.25 and ml_csc-k=1.0 from vanilla (8 pairs each).")
    assert "better" not in second and "worse" not in second and "%" not in second and "too few" not in said


@pytest.mark.parametrize("pairs", [1, 3])
def test_too_few_pairs_say_nothing_of_a_method(pairs):
    several = [*sweep(pairs, **{"l0_inf:k=0.25": 0.8}), *sweep(pairs + 1, **{"l1:weight=10.0": 0.8})[-1:]]
    said = summary(of(several, sweep(8, **{"l0:k=0.25": 0.8})[:1]))
    plural = "" if pairs == 1 else "s"
    assert said.startswith("By the rule nothing is told apart yet. Not told apart: DCGAN")
    assert said.endswith(
        f": l0_inf-k=0.25 from vanilla ({pairs} pair{plural}), l1-weight=10.0 from vanilla (0 pairs); "
        "too few pairs, whatever their runs come to: 2 of 2."
    )


def test_several_groups_and_restorations_are_the_same_two_sentences():
    trained = [*of(sweep(2, **{"l0_inf:k=0.25": 1.0})), *of(sweep(9, **{"l0:k=0.25": 0.9}))]
    said = summary(trained, restored_page.groups(lines(8, l0=0.5)))
    assert said.count(" Not told apart: ") == 1 and said.count("told apart: ") == 2
    assert "; Deep Image Prior, denoise, σ = 25, whole images, 30 iterations, width " in said
    assert "l0-k=0.25 is better than vanilla (-9.5 %" in said and "dB, 95 % interval" in said
    assert said.endswith("(2 pairs); too few pairs, whatever their runs come to: 1 of 1.")


def test_nothing_to_compare_is_nothing():
    assert summary([]) == ""
    assert summary([group for group in of(sweep(2)) if group.compared]) == ""

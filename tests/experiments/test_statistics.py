"""Paired statistics of recorded runs."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from sparse_plugin.experiments import statistics


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

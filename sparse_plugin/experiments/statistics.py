"""Paired comparisons: interval, exact test, correction for several methods, and the one rule that turns them into a word.

The rule: a method is "better" or "worse" where its p, corrected by Holm over all comparisons of the table, is below 0.05
and the 95 % interval of its mean paired change lies on one side of zero; everything else is "not told apart".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Literal

Verdict = Literal["better", "worse", "not told apart"]
LEVEL = 0.05
# Pairs whose sign patterns are all gone through; of more, so many patterns are drawn.
EXACT = 20


@dataclass(frozen=True)
class Change:
    """The change of a metric between the runs of two methods, over pairs that share a seed.

    pairs: how many. mean, low, high: the mean and its 95 % interval, in per cent of the other method's value, or of a
    `difference` in the metric's unit; the interval is (-inf, inf) for one pair. p: two-sided, see `sign_flip`. adjusted:
    p after Holm, equal to p before. least: the smallest that `adjusted` could be with so many pairs, see `least_adjusted`.
    """

    pairs: int
    mean: float
    low: float
    high: float
    p: float
    adjusted: float
    least: float
    verdict: Verdict = "not told apart"


def change(values: Sequence[float], others: Sequence[float]) -> Change:
    """The change from others to values, pair by pair; all are above 0. Its verdict is open: see `judged`.

    Means, intervals and the test are of log(value / other), whose sign changes with the roles, and are given in per cent.
    Raises ValueError for no pairs, or for values that are not above 0.
    """
    if not values or len(values) != len(others) or min(*values, *others) <= 0:
        raise ValueError(f"{len(values)} and {len(others)} values do not make pairs of numbers above 0")
    of = difference([math.log(value) for value in values], [math.log(value) for value in others])
    return replace(of, mean=_percent(of.mean), low=_percent(of.low), high=_percent(of.high))


def difference(values: Sequence[float], others: Sequence[float]) -> Change:
    """The change from others to values, pair by pair, in their own unit (of PSNR, dB). Its verdict is open: see `judged`.

    Raises ValueError for no pairs.
    """
    if not values or len(values) != len(others):
        raise ValueError(f"{len(values)} and {len(others)} values do not make pairs")
    apart = [value - other for value, other in zip(values, others, strict=True)]
    p = sign_flip(apart)
    return Change(len(apart), mean(apart), *interval(apart), p, p, least_p(len(apart), 1))


def _percent(log: float) -> float:
    if math.isinf(log):
        return log  # no end of an interval
    return math.inf if log > 700 else 100 * math.expm1(log)


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The t-interval of the mean of values: (-inf, inf) for one."""
    if len(values) < 2:
        return -math.inf, math.inf
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 1 - level / 2)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def sign_flip(values: Sequence[float]) -> float:
    """The two-sided p of the sign-flip test that values lie symmetrically around 0: the share of all 2^n sign patterns
    whose sum is at least as far from 0 as the one there is; exact up to 20 values, of more 2^20 patterns are drawn.
    (Fisher, The Design of Experiments, 1935, section 21.)
    """
    import numpy as np

    there = abs(math.fsum(values)) * (1 - 1e-9)  # what rounding parts belongs together
    if len(values) <= EXACT:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate((sums + value, sums - value))
        return float((np.abs(sums) >= there).mean())
    source = np.random.RandomState(0)
    sums = np.zeros(1 << EXACT)
    for value in values:
        sums += np.where(source.randint(0, 2, len(sums)) > 0, value, -value)
    return float((1 + (np.abs(sums) >= there).sum()) / (1 + len(sums)))


def holm(ps: Sequence[float]) -> list[float]:
    """The p of several tests, each corrected for there being several (Holm, Scand. J. Statist. 6, 1979)."""
    adjusted = [0.0] * len(ps)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = least
    return adjusted


def judged(changes: Sequence[Change | None], lower_is_better: bool = True) -> list[Change | None]:
    """All comparisons of one table, corrected for their number and with the verdict of the rule.

    None, a comparison without pairs, counts as one whose p is 1: that it is made later tells nothing apart that was not before.
    """
    found: list[Change | None] = []
    adjusted = holm([1.0 if each is None else each.p for each in changes])
    least = least_adjusted([0 if each is None else each.pairs for each in changes])
    for one, corrected, smallest in zip(changes, adjusted, least, strict=True):
        if one is None:
            found.append(None)
            continue
        word: Verdict = "not told apart"
        if corrected < LEVEL and (one.high < 0 or one.low > 0):
            word = "better" if (one.high < 0) == lower_is_better else "worse"
        found.append(replace(one, adjusted=corrected, least=smallest, verdict=word))
    return found


def least_p(pairs: int, comparisons: int) -> float:
    """The smallest corrected p that so many pairs can come to among so many comparisons."""
    return min(1.0, comparisons * 2.0 ** (1 - pairs))


def least_adjusted(pairs: Sequence[int]) -> list[float]:
    """The smallest corrected p that each of several comparisons can come to. pairs: of each, 0 for none yet.

    Holm's correction grows with every p, so it is least where each p is the least that its pairs allow.
    """
    return holm([least_p(count, 1) for count in pairs])


def pairs_needed(comparisons: int) -> int:
    """How many pairs it takes before any of so many comparisons can be told apart."""
    pairs = 1
    while least_p(pairs, comparisons) >= LEVEL:
        pairs += 1
    return pairs

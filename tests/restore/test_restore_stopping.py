"""Early stopping by the moving variance of the output, on made-up outputs and on recorded curves.

restore_curves.json: denoising a 96x96 and a 48x48 photograph, sigma 25, with a quarter of the channels (5 and 3 scales):
the windowed variance of every iteration, PSNR of every fifth from the first on.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.stopping import KEPT, ExponentialVariance, Stopping, WindowVariance


def outputs(count, shape=(1, 2, 3, 4), seed=0):
    return list(torch.from_numpy(np.random.default_rng(seed).random((count, *shape), np.float32)))


@given(st.integers(1, 6), st.integers(0, 12), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_windowed_variance_is_the_papers(size, more, seed):
    seen = outputs(size + more, seed=seed)
    measure = WindowVariance(size)
    values = [measure(x) for x in seen]
    assert values[: size - 1] == [None] * (size - 1)
    window = torch.stack(seen[-size:]).double()
    expected = sum(((x - window.mean(0)) ** 2).sum() for x in window) / size / seen[0].numel()
    assert values[-1] == pytest.approx(float(expected), abs=1e-6)


@given(st.integers(2, 12), st.floats(0.05, 0.9), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_exponential_variance_is_the_weighted_one(count, alpha, seed):
    """Both moments with weights α (1 - α)^age, the first output with what is left."""
    seen = outputs(count, seed=seed)
    measure = ExponentialVariance(alpha, warm=0)
    value = [measure(x) for x in seen][-1]
    weights = np.array([alpha * (1 - alpha) ** age for age in range(count)][::-1])
    weights[0] /= alpha
    array = torch.stack(seen).flatten(1).double().numpy()
    mean = weights @ array
    assert weights.sum() == pytest.approx(1)
    assert value == pytest.approx((weights @ (array - mean) ** 2).mean(), abs=1e-6)


def test_a_large_output_is_looked_at_in_part():
    noise = outputs(5, (1, 3, 300, 400))
    measure, whole = WindowVariance(5), torch.stack(noise).var(0, correction=0).mean()
    values = [measure(x) for x in noise]
    assert measure.window.shape[1] <= KEPT
    assert values[-1] == pytest.approx(float(whole), rel=0.01)


def run(rule, patience, levels, drift=0.0):
    """The iterations that were the best, and the one that the rule stopped at: outputs of noise with such deviations."""
    rng = np.random.default_rng(0)
    stopping, best = Stopping(rule, patience), 0
    for i, level in enumerate(levels, 1):
        if stopping.see(torch.from_numpy(rng.normal(drift * i, level, (1, 1, 32, 32)))):
            best = i
        if stopping.over:
            return best, i
    return best, None


VALLEY = [0.1 + abs(i - 300) / 1000 for i in range(900)]


@pytest.mark.parametrize("rule", ["wmv", "emv"])
def test_it_stops_after_the_valley(rule):
    best, stopped = run(rule, 150, VALLEY)
    assert stopped == best + 150
    # The rule looks back over its window: half of it behind the valley.
    assert 290 <= best <= 370
    assert run(rule, 1000, VALLEY) == (best, None)


def test_it_does_not_stop_while_outputs_draw_together():
    for rule in ("wmv", "emv"):
        best, stopped = run(rule, 100, [math.exp(-i / 200) for i in range(900)])
        assert stopped is None and best > 850


def test_no_rule_never_stops():
    assert run(None, 1, VALLEY) == (0, None)


def test_what_cannot_be_a_rule_is_refused():
    with pytest.raises(ConfigError, match="there is no stopping rule 'wvm'; there are emv, heldout, wmv"):
        Stopping("wvm", 10)
    with pytest.raises(ConfigError, match="patience is 0; give iterations, 1 or more"):
        Stopping("wmv", 0)


@pytest.mark.parametrize("rule", ["wmv", "emv"])
def test_it_goes_on_from_a_checkpoint(rule):
    seen = outputs(260)
    whole, first, rest = Stopping(rule, 50), Stopping(rule, 50), Stopping(rule, 50)
    expected = [(whole.see(x), whole.variance, whole.over) for x in seen]
    for x in seen[:130]:
        first.see(x)
    rest.load({name: value.clone() for name, value in first.state().items()})
    assert [(rest.see(x), rest.variance, rest.over) for x in seen[130:]] == expected[130:]


CURVES = json.loads((Path(__file__).parent / "restore_curves.json").read_text())


@pytest.mark.parametrize("patience", [200, 300])
@pytest.mark.parametrize("name", CURVES)
def test_on_real_curves_it_stops_near_the_best(name, patience):
    curve = CURVES[name]
    stopping, best, stopped = Stopping("wmv", patience), 0, None
    stopping.measure = lambda variance: variance
    for i, variance in enumerate(curve["variance"]):
        if stopping.see(variance):
            best = i
        if stopping.over:
            stopped = i
            break
    single, average = curve["psnr_single"], curve["psnr_average"]
    assert stopped is not None
    assert average[best // 5] > max(average) - 0.2 and single[best // 5] > max(single) - 1
    # Which is worth it: at the end of the budget the noise is back.
    assert average[best // 5] > average[-1] + 1

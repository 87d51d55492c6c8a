"""A penalty under Lightning, which divides a loss by the batches that it accumulates before it computes its gradient."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from test_accelerate import WEIGHT, by_hand, close, networks, noise

from sparse_plugin import attach


@pytest.fixture(params=["lightning.pytorch.strategies.strategy", "pytorch_lightning.strategies.strategy"])
def strategy(request, monkeypatch):
    """Lightning's class, by either name of the package, as far as a loss passes through it."""

    class Strategy:
        def __init__(self, batches, automatic=True):
            trainer = SimpleNamespace(accumulate_grad_batches=batches)
            self.lightning_module = SimpleNamespace(trainer=trainer, automatic_optimization=automatic)

        def backward(self, loss, optimizer):
            loss.backward()

    class Derived(Strategy):
        pass

    module = ModuleType(request.param)
    module.Strategy = Strategy
    monkeypatch.setitem(sys.modules, request.param, module)
    return Derived


def train(g, d, strategy, divide):
    optimizer = torch.optim.SGD(g.parameters(), 0.0)
    for seed in (0, 1):
        strategy.backward(-d(g(noise(seed))).mean() / divide, optimizer)
    optimizer.step()


def test_accumulated_batches(strategy, caplog):
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, example_input=noise(0))
    train(g, d, strategy(2), 2)
    close(g, by_hand(2))
    assert "accumulat" not in caplog.text


def test_a_script_that_optimizes_by_hand_says_how_it_divides(strategy, caplog):
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, accumulation=2, example_input=noise(0))
    train(g, d, strategy(1, automatic=False), 2)
    close(g, by_hand(2))
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, example_input=noise(0))
    train(g, d, strategy(1, automatic=False), 2)
    assert "added 2 times" in caplog.text

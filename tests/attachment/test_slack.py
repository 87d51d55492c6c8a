"""A constraint that cannot bind is said, once, where that is known first."""

import copy

import pytest
import torch
from torch import nn

from sparse_plugin import Constraint, attach


def make(channels=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 3, 3, padding=1))


X = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))
SITE = {"sites": ["2"]}


def said(caplog):
    return [record.getMessage() for record in caplog.records if "projects nothing away" in record.getMessage()]


@pytest.mark.parametrize(
    ("name", "settings", "at_attach", "why"),
    [
        ("l0_inf", {"k": 8}, True, "k = 8 keeps all 8 coefficients of a needle"),
        ("l0_inf", {"k": 128}, True, "k = 128 keeps all 8 coefficients of a needle"),
        ("l0", {"k": 200}, False, "k = 200 keeps all 200 coefficients of a sample"),
        ("l0", {"k": 10**6}, False, "keeps all 200 coefficients of a sample"),
        ("l0_batch", {"k": 200}, False, "k = 200 keeps all 200 coefficients of a sample"),
        ("l0_channel", {"k": 25}, False, "k = 25 keeps all 25 coefficients of a channel map"),
        ("l0_channel", {"k": 10**6}, False, "keeps all 25 coefficients of a channel map"),
        ("ml_csc", {"k": [2, 9]}, True, "at level 2, k = 9 keeps all 8 coefficients of a needle;"),
        (
            "ml_csc",
            {"k": [200, 3], "constraint": "l0"},
            False,
            "at level 1, k = 200 keeps all 200 coefficients of a sample",
        ),
    ],
)
def test_said_once(name, settings, at_attach, why, caplog):
    generator = make()
    attach(generator, name, **settings, **SITE)
    assert bool(said(caplog)) == at_attach
    twin = copy.deepcopy(generator)
    for module in (generator, generator, twin):
        module(X)
    (sentence,) = said(caplog)
    assert why in sentence and "1.0 where that is meant" in sentence and "at the input of 2" in sentence


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("l0_inf", {"k": 7}),
        ("l0_inf", {"k": 1.0}),
        ("l0", {"k": 199}),
        ("l0", {"k": 1.0}),
        ("l0_channel", {"k": 24}),
        ("l0_batch", {"k": 199}),
        ("l0_channel", {"k": 1.0}),
        ("ml_csc", {"k": [7, 1.0]}),
        ("l1", {"weight": 0.0}),
    ],
)
def test_nothing_to_say(name, settings, caplog):
    generator = make()
    attach(generator, name, **settings, **SITE, example_input=X)
    generator(X)
    assert not said(caplog)


def test_every_representation_by_itself(caplog):
    """Of several sites, on the output side too, those that cannot bind are named."""
    generator = make()
    attach(generator, "l0_inf", k=[3, 8], sites=["2:output", "0:output"])
    generator(X)
    assert [s.partition(" projects")[0] for s in said(caplog)] == [
        "l0_inf(k=8) at the output of 0",
        "l0_inf(k=3) at the output of 2",
    ]


def test_somebody_elses_constraint_may_say_it(caplog):
    class Clamp(Constraint):
        top: float = float("inf")

        def project(self, gamma):
            return gamma.clamp(max=self.top)

        def slack(self, channels, size):
            return "" if self.top < float("inf") else f"no top for {channels} channels"

    attach(make(), Clamp(), **SITE)
    assert "no top for 8 channels" in said(caplog)[0]
    caplog.clear()
    generator = make()
    attach(generator, Clamp(top=1.0), **SITE, example_input=X)
    assert not said(caplog)

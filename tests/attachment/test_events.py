"""Listening to what happens to attached generators."""

import pickle

import pytest
import torch
from torch import nn

from sparse_plugin import attach
from sparse_plugin.attachment import events


def G():
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1))


@pytest.fixture
def heard():
    """Every event from now on, in order, by its name."""
    found = []
    ends = [
        event.subscribe(lambda subject, name=event.name: found.append((name, subject)))  # each its own name
        for event in events.ALL
    ]
    yield found
    for end in ends:
        end()


def test_each_listener_is_told_once_and_in_order_until_it_unsubscribes():
    event, told = events.Event("tried"), []
    ends = [event.subscribe(told.append), event.subscribe(told.append), event.subscribe(lambda x: told.append(-x))]
    event.announce(1)
    assert told == [1, -1]
    ends[0]()
    ends[1]()
    ends[0]()
    event.announce(2)
    assert told == [1, -1, -2] and told.append not in event
    ends[2]()
    event.announce(3)
    assert told == [1, -1, -2]


def test_a_listener_may_unsubscribe_itself_or_another_while_it_is_told():
    event, told = events.Event("tried"), []
    ends = {}
    for name in "abc":
        ends[name] = event.subscribe(lambda x, name=name: (told.append((name, x)), ends[name]()))
    event.announce(0)
    event.announce(1)
    assert told == [("a", 0), ("b", 0), ("c", 0)]


def test_what_a_listener_raises_reaches_whoever_caused_it(heard):
    def refuse(generator):
        raise RuntimeError("no")

    end = events.placed.subscribe(refuse)
    try:
        with pytest.raises(RuntimeError, match="no"):
            attach(G(), "l0_inf", k=2)
    finally:
        end()
    attach(G(), "l0_inf", k=2)


@pytest.mark.parametrize("example", [True, False], ids=["at attach", "at the first call"])
def test_a_constraint_is_placed_and_takes_effect_once(heard, example):
    generator, z = G(), torch.randn(2, 4, 5, 5)
    attach(generator, "l0_inf", k=2, **({"example_input": z} if example else {}))
    for _ in range(3):
        generator(z)
    assert [name for name, _ in heard] == ["placed", "effective"]
    assert heard[0][1] is generator and heard[1][1].site.path == "2"


def test_a_penalty_is_due_before_it_takes_effect(heard):
    generator, z = G(), torch.randn(2, 4, 5, 5)
    attach(generator, "l1", weight=1.0, sites="2")
    optimizer = torch.optim.SGD(generator.parameters(), 0.1)
    with torch.no_grad():
        generator(z)
    assert [name for name, _ in heard] == ["placed"]
    for _ in range(2):
        generator(z).mean().backward()
        optimizer.step()
    assert [name for name, _ in heard] == ["placed", "penalizable", "effective", "trained"]


def test_a_generator_out_of_another_process_takes_effect_there_too(heard):
    generator, z = G(), torch.randn(2, 4, 5, 5)
    attach(generator, "l0_inf", k=2, sites="2")
    generator(z)
    twin = pickle.loads(pickle.dumps(generator))
    twin(z)
    assert [name for name, _ in heard] == ["placed", "effective", "arrived", "effective"]

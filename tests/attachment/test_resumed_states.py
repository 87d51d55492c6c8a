"""All that a regularizer keeps from step to step is in the checkpoint, for every site, wherever the site is found: resumed runs go on to the bit."""

import copy
import io
import pickle

import pytest
import torch
from encoder_decoders import Pooled, Strided
from torch import nn

import sparse_plugin
from sparse_plugin.errors import CheckpointError

AUTO = {"auto": 0.5, "measure": 4, "steps": 5}
LINEAR = {"start": 1.0, "end": 0.25, "steps": 7}


class Hidden(nn.Module):
    """Two convolutions could make its image: only a forward tells."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three, self.out = (nn.Conv2d(i, o, 3, 1, 1) for i, o in ((3, 6), (6, 3), (3, 8), (8, 3)))

    def forward(self, z):
        for layer in (self.one, self.two, self.three):
            z = torch.relu(layer(z))
        return torch.tanh(self.out(z))


def train(net, first, last):
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    for step in range(first, last):
        torch.manual_seed(100 + step)
        optimizer.zero_grad()
        net(torch.randn(2, 3, 16, 16)).square().mean().backward()
        optimizer.step()
    return net


def by_checkpoint(build, net):
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    resumed = build(7)
    resumed.load_state_dict(torch.load(file))
    return resumed


WAYS = {
    "checkpoint": by_checkpoint,
    "pickle": lambda build, net: pickle.loads(pickle.dumps(net)),
    "copy": lambda build, net: copy.deepcopy(net),
}


def check(kind, at, *args, way="checkpoint", **settings):
    """Resumed after `at` steps of 9, a run is the same to the bit."""

    def build(seed):
        torch.manual_seed(seed)
        net = kind()
        sparse_plugin.attach(net, *args, **settings)
        return net

    whole = train(build(0), 0, 9).state_dict()
    again = train(WAYS[way](build, train(build(0), 0, at)), at, 9).state_dict()
    assert whole.keys() == again.keys()
    assert not [key for key in whole if not torch.equal(whole[key], again[key])]


@pytest.mark.parametrize("at", [1, 3, 6])  # two of them while the natural density is being measured
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", [Pooled, Strided])
def test_every_scale_of_an_encoder_has_a_density_of_its_own(kind, at, known):
    more = {"example_input": torch.randn(2, 3, 16, 16)} if known else {}
    check(kind, at, "l0_inf", k=AUTO, adapter="encoder_scales", **more)


@pytest.mark.parametrize("way", WAYS)
def test_what_was_counted_of_the_density_travels(way):
    check(Hidden, 3, "l0_inf", k=AUTO, way=way)


def test_every_scale_has_a_threshold_of_its_own():
    check(Pooled, 4, "l0_batch", k=0.5, adapter="encoder_scales")


ELSEWHERE = {"l1": {"weight": 0.1, "sites": ["one"]}}


@pytest.mark.parametrize(
    "second",
    [
        {"l0_inf": {"k": LINEAR}},
        {"l0_inf": {"k": AUTO}},
        {"revival": {"k": 1, "steps": 2}},
        {"l0_batch": {"k": 0.3}},
        {"coherence": {"weight": {"start": 0.0, "end": 1.0, "steps": 6}}},
    ],
    ids=lambda second: "-".join(second),
)
@pytest.mark.parametrize("at", [3, 6])
def test_a_site_found_late_beside_a_named_one(second, at):
    (name,) = second
    check(Hidden, at, ["l1", name], **ELSEWHERE, **second)


def test_a_density_that_was_never_counted_is_none():
    net = Hidden()
    sparse_plugin.attach(net, "l0_inf", k=AUTO, example_input=torch.randn(1, 3, 8, 8))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for batch in (0, 2, 0, 2, 2):  # of an empty batch there is no share of non-zeros
        optimizer.zero_grad()
        net(torch.randn(batch, 3, 8, 8)).sum().backward()
        optimizer.step()
    assert 0 < net.out.sparse_plugin.training_step.density < 1


def test_a_checkpoint_without_what_was_counted_loads():
    torch.manual_seed(0)
    net = train(Hidden(), 0, 1)
    sparse_plugin.attach(net, "l0_inf", k=AUTO)
    train(net, 0, 3)
    entries = net.state_dict()
    del entries["out.sparse_plugin.counted"]
    for known in (torch.randn(1, 3, 8, 8), None):
        twin = Hidden()
        sparse_plugin.attach(twin, "l0_inf", k=AUTO, example_input=known)
        twin.load_state_dict(entries)
        twin(torch.randn(1, 3, 8, 8))
        assert twin.out.sparse_plugin.training_step.step == 3 and (twin.out.sparse_plugin.counted[1:] == -1).all()


@pytest.mark.parametrize("name", ["schedule", "memory"])
def test_values_of_another_shape_are_refused_where_the_site_is_found(name):
    net = Hidden()
    more = {"k": 1, "steps": 2} if name == "memory" else {"k": LINEAR}
    attach = {"memory": "revival", "schedule": "l0_inf"}[name]
    sparse_plugin.attach(net, attach, **more, example_input=torch.randn(1, 3, 8, 8))
    entries = net.state_dict()
    entries[f"out.sparse_plugin.{name}"] = torch.zeros(2)
    twin = Hidden()
    sparse_plugin.attach(twin, attach, **more)
    with pytest.raises((CheckpointError, RuntimeError), match=name):
        twin.load_state_dict(entries)
        twin(torch.randn(1, 3, 8, 8))

"""The two hooks at a site, and what a process knows of them."""

import copy
import pickle

import pytest
import torch
from torch import nn

from sparse_plugin import Attachment, attach
from sparse_plugin.attachment import hooks
from sparse_plugin.attachment.constraint_hook import ConstraintHook
from sparse_plugin.attachment.penalty_hook import PenaltyHook
from sparse_plugin.attachment.plan import Plan
from sparse_plugin.attachment.site_state import Stage
from sparse_plugin.config import SparsityConfig

SETTINGS = {"l0": {"k": 0.25}, "l0_inf": {"k": 2}, "ml_csc": {"k": 2}, "l1": {"weight": 1.0}}
Z = torch.linspace(-2, 2, 2 * 4 * 5 * 5).sin().view(2, 4, 5, 5)


def attached(name, site="2", **more):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1))
    attach(net, name, sites=site, **SETTINGS[name], **more)
    return net


def hook_of(net):
    ((_, _, hook),) = hooks.find(net, hooks.SiteHook)
    return hook


@pytest.mark.parametrize("name", SETTINGS)
def test_each_kind_of_regularizer_has_its_hook(name):
    assert type(hook_of(attached(name))) is (PenaltyHook if name == "l1" else ConstraintHook)


@pytest.mark.parametrize("site", ["2", "1:output"])
@pytest.mark.parametrize("name", ["l0_inf", "l1"])
def test_gamma_is_an_input_or_an_output(name, site):
    net = attached(name, site)
    at = "_forward_hooks" if site.endswith("output") else "_forward_pre_hooks"
    module = net.get_submodule(site.partition(":")[0])
    assert hook_of(net) in getattr(module, at).values()
    assert torch.equal(net(Z), attached(name)(Z))


def test_a_constraint_takes_effect_with_its_first_forward_and_is_never_due():
    net = attached("l0_inf")
    hook = hook_of(net)
    assert hook.state.stage is Stage.PLACED
    with torch.no_grad():
        net(Z)
    assert hook.state.stage is Stage.EFFECTIVE


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_penalty_is_due_with_gradients_and_effective_in_a_loss(delivery):
    net = attached("l1", delivery=delivery)
    hook, optimizer = hook_of(net), torch.optim.SGD(net.parameters(), 0.1)
    with torch.no_grad():
        net(Z)
    assert hook.state.stage is Stage.PLACED
    loss = net(Z).mean()
    assert hook.state.stage is Stage.DUE
    if delivery == "loss":
        loss = loss + Attachment.of(net).penalty()
        assert hook.state.taken == 1
    loss.backward()
    optimizer.step()
    assert hook.state.stage is Stage.EFFECTIVE and (hook.state.taken, hook.state.ran) == (0, 0)


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_process_knows_is_neither_copied_nor_pickled(name):
    net = attached(name)
    net(Z)
    hook_of(net).state.steps = 7
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other = hook_of(twin)
        assert (other.state.stage, other.state.steps) == (Stage.PLACED, 0)
        assert torch.equal(twin(Z), net(Z)) and hook_of(net).state.steps == 7
    assert hook_of(copy.deepcopy(net)).is_copy and not hook_of(pickle.loads(pickle.dumps(net))).is_copy


def test_a_copy_of_a_penalty_never_feeds_the_loss():
    net = attached("l1")
    twin = copy.deepcopy(net)
    twin(Z).mean().backward()
    assert hook_of(twin).state.stage is Stage.PLACED


def test_the_plan_is_frozen_and_survives_a_pickle():
    plan = Plan.of(SparsityConfig.from_mapping({"regularizer": "l1", "weight": 2.0, "delivery": "loss", "sites": ["2"]}))
    assert pickle.loads(pickle.dumps(plan)) == plan and plan.sites == ("2",) and plan.delivery == "loss"
    with pytest.raises(AttributeError):
        plan.delivery = "gradient"


def test_what_was_asked_is_read_from_the_plan():
    net = attached("l1", delivery="loss")
    hook_of(net).delivery = "gradient"  # what a hook holds is its own
    assert Attachment.of(net).delivery == "loss"

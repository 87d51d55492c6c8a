"""Several regularizers on one generator: their order, what is measured, saved, copied and resumed, and what is refused."""

import copy
import io
import pickle
import re

import pytest
import torch
from generators import Plain, Residual, noise

from sparse_plugin import Attachment, SparsityConfig, attach
from sparse_plugin.errors import CheckpointError, ConfigError, SiteError
from sparse_plugin.measurements.log import FILE, read
from sparse_plugin.registry import Constraint, Penalty, register
from sparse_plugin.registry.l0 import L0
from sparse_plugin.registry.l0_channel import L0Channel
from sparse_plugin.registry.l0_inf import L0Inf
from sparse_plugin.registry.l1 import L1

BOTH = ["l1", "l0_inf"]
SECTIONS = {"l1": {"weight": 0.5}, "l0_inf": {"k": 2}}


class Shift(Constraint):
    """Gives Γ non-zeros everywhere."""

    def project(self, gamma):
        return gamma + 1


class Square(Penalty):
    def penalty(self, gamma):
        return gamma.square().mean()


@pytest.fixture(autouse=True)
def _registered():
    register("test_compose_shift")(Shift)
    register("test_compose_square")(Square)


def generator(seed=0, kind=Residual):
    torch.manual_seed(seed)
    return kind()


def consumed(net, module="out"):
    """What D1 consumes, with its graph."""
    seen = []
    handle = net.get_submodule(module).register_forward_hook(lambda m, args, out: seen.append(args[0]))
    out = net(noise())
    handle.remove()
    return seen[0], out


def gradients(net, loss):
    return torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad], allow_unused=True)


def same(ours, theirs):
    return all((a is None and b is None) or torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("order", [["l1", "l0_inf"], ["l0_inf", "l1"]])
@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_the_order_is_that_of_the_list(order, delivery):
    """A penalty before a constraint sees Γ dense, one after it sees Γ projected: against the formula, without hooks."""
    net, plain = generator(), generator()
    attachment = attach(net, order, delivery=delivery, **SECTIONS)
    out = net(noise())
    term = attachment.penalty() if delivery == "loss" else 0
    loss = out.square().mean() + term
    gammas = []

    def project(module, args):
        gamma = args[0]
        sparse = L0Inf(k=2).project(gamma)
        gammas.append(gamma if order[0] == "l1" else sparse)
        return (sparse,)

    plain.out.register_forward_pre_hook(project)
    expected = plain(noise())
    assert torch.equal(out, expected)
    penalty = 0.5 * gammas[0].abs().mean()
    assert same(gradients(net, loss), gradients(plain, expected.square().mean() + penalty))
    if delivery == "loss":
        assert torch.allclose(term, penalty)


def test_two_constraints_one_after_the_other():
    net = generator()
    attach(net, [L0(k=0.5), L0Inf(k=2)])
    plain = generator()
    gamma, _ = consumed(plain)
    assert torch.equal(consumed(net)[0], L0Inf(k=2).project(L0(k=0.5).project(gamma)))


def test_two_penalties_are_summed():
    net, plain = generator(), generator()
    attachment = attach(net, ["l1", "test_compose_square"], l1={"weight": 0.5}, delivery="loss")
    out = net(noise())
    gamma, _ = consumed(plain)
    assert out.requires_grad and torch.allclose(attachment.penalty(), 0.5 * gamma.abs().mean() + gamma.square().mean())


@pytest.mark.parametrize(
    "asked",
    [
        (BOTH, SECTIONS),
        ([L1(weight=0.5), L0Inf(k=2)], {}),
        (["l1", L0Inf(k=2)], {"l1": {"weight": 0.5}}),
        (SparsityConfig.from_mapping({"regularizer": BOTH, **SECTIONS}), {}),
        (SparsityConfig.from_mapping({"regularizer": "l1, l0_inf", **SECTIONS}), {}),
        (SparsityConfig.of([L1(weight=0.5), L0Inf(k=2)]), {}),
    ],
)
def test_every_way_to_ask_for_it(asked):
    regularizer, settings = asked
    net, other = generator(), generator()
    attach(net, regularizer, **settings)
    attach(other, BOTH, **SECTIONS)
    ours, theirs = net(noise()), other(noise())
    assert torch.equal(ours, theirs) and same(gradients(net, ours.sum()), gradients(other, theirs.sum()))


def test_of_a_list_of_one_the_same_as_of_the_one():
    for one in (attach(generator(), ["l0_inf"], l0_inf={"k": 2}), attach(generator(), SparsityConfig.from_mapping({"regularizer": ["l0_inf"], "l0_inf": {"k": 2}}))):
        assert one.regularizer == attach(generator(), "l0_inf", k=2).regularizer
    config = SparsityConfig.from_mapping({"regularizer": ["l0_inf"], "l0_inf": {"k": 2, "sites": "c2"}})
    assert (config.regularizer, config.settings, config.sites) == ("l0_inf", {"k": 2}, ["c2"])


@pytest.mark.parametrize("example", [noise(), None])
def test_each_is_measured_and_logged_by_name(tmp_path, example):
    net = generator()
    attachment = attach(net, BOTH, run_dir=tmp_path, measure_every=1, example_input=example, **SECTIONS)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        net(noise()).square().mean().backward()
        optimizer.step()
    lines = list(read(tmp_path / FILE))
    assert [(line["step"], line["regularizer"]) for line in lines] == [(1, "l1"), (1, "l0_inf"), (2, "l1"), (2, "l0_inf")]
    dense, sparse = lines[2:]
    assert dense["penalty"] > 0 and sparse["penalty"] is None
    assert dense["sparsity"] == sparse["sparsity_before"] > 25 >= sparse["sparsity"]
    assert [m.regularizer for m in attachment.measure(noise())] == BOTH
    behind = attach(generator(), BOTH[::-1], **SECTIONS)
    behind.generator(noise())
    first, second = behind.measure(noise())
    assert (first.regularizer, second.regularizer) == ("l0_inf", "l1") and second.sparsity_before == first.sparsity <= 25


def test_a_checkpoint_names_both(tmp_path):
    net = generator()
    attach(net, BOTH, **SECTIONS, example_input=noise())
    state = net.state_dict()
    (key,) = [key for key in state if "sparse_plugin" in key]
    again = generator(1)
    attach(again, BOTH, **SECTIONS)
    again.load_state_dict(state)
    assert torch.equal(again(noise()), net(noise()))
    for other, settings in ((BOTH[::-1], SECTIONS), ("l0_inf", {"k": 2}), (BOTH, {**SECTIONS, "l0_inf": {"k": 3}})):
        wrong = generator()
        attach(wrong, other, **settings)
        with pytest.raises(CheckpointError, match=re.escape("trained with l1(reduction=mean, weight=0.5) + l0_inf(k=2)")):
            wrong.load_state_dict(state)
    assert key == "out.sparse_plugin._extra_state"


def test_settings_out_of_data_are_the_regularizers_own():
    found = {"regularizer": BOTH, "l1": {"weight": 0.5, "imports": ["evil.py"]}, "l0_inf": {"k": 2, "sites": ["out"]}, "run_dir": "/"}
    config = SparsityConfig.from_data(found, "it")
    assert config.settings == {"l1": {"weight": 0.5}, "l0_inf": {"k": 2, "sites": ["out"]}}
    assert config.run_dir is None and not config.imports
    for bad in ({"regularizer": []}, {"regularizer": [1]}, {"regularizer": ["l1", "nobody"]}, {"regularizer": BOTH, "l1": 3}):
        with pytest.raises(CheckpointError):
            SparsityConfig.from_data(bad, "it")


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_keep_both(twin_of):
    net = generator()
    attach(net, BOTH, **SECTIONS, example_input=noise())
    twin = twin_of(net)
    assert torch.equal(twin(noise()), net(noise())) and [type(p).__name__ for p in Attachment.of(twin).regularizer._parts] == ["L1", "L0Inf"]
    file = io.BytesIO()
    torch.save(twin, file)


def test_schedules_of_both_follow_one_count():
    net = generator()
    ramp = {"start": 0.0, "end": 1.0, "steps": 2}
    attach(net, BOTH, l1={"weight": ramp}, l0_inf={"k": {"start": 8, "end": 2, "steps": 3}}, example_input=noise())
    ema = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    for step in range(5):
        (child,) = Attachment.of(net).inserted()
        assert child.training_step.step == min(step, 3)
        fullest = int((consumed(net)[0] != 0).sum(1).max())
        assert fullest <= max(2, 8 - 2 * step)
        optimizer.zero_grad()
        net(noise()).square().mean().backward()
        optimizer.step()
        for p, q in zip(ema.parameters(), net.parameters(), strict=True):
            p.data.lerp_(q.data, 0.5)
    assert int((consumed(ema)[0] != 0).sum(1).max()) <= 2


def test_auto_measures_what_the_one_before_leaves(tmp_path, caplog):
    net = generator()
    auto = {"auto": 0.5, "measure": 2, "steps": 1}
    attach(net, ["l0", "l0_inf"], l0={"k": 0.25}, l0_inf={"k": auto}, run_dir=tmp_path, measure_every=1)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        net(noise()).square().mean().backward()
        optimizer.step()
    lines = [line for line in read(tmp_path / FILE) if line["regularizer"] == "l0_inf"]
    assert lines[-1]["k"] == pytest.approx(0.125, abs=0.01)
    assert "Γ at the input of out has behind l0(k=0.25) 25.0 % non-zeros: k goes to 0.5 of that" in caplog.text and "by itself" not in caplog.text


# --- Different regularizers at different sites


@pytest.mark.parametrize("known", ["example", "guess", "hand"])
def test_a_part_at_sites_of_its_own(known):
    net, plain = generator(), generator()
    more = {"example": {"example_input": noise()}, "guess": {}, "hand": {"sites": "out"}}[known]
    attachment = attach(net, ["l0_channel", "l0_inf"], l0_channel={"k": 3, "sites": ["c2"]}, l0_inf={"k": 2}, **more)
    plain.c2.register_forward_pre_hook(lambda m, args: (L0Channel(k=3).project(args[0]),))
    plain.out.register_forward_pre_hook(lambda m, args: (L0Inf(k=2).project(args[0]),))
    assert torch.equal(net(noise()), plain(noise()))
    assert {str(site) for site in attachment.sites} == {"input of c2", "input of out"}
    assert {(m.site, m.regularizer) for m in attachment.measure(noise())} == {("c2", "l0_channel"), ("out", "l0_inf")}
    again = generator(1)
    config = SparsityConfig.from_data(attachment.regularizer.settings(), "it")
    attach(again, config.with_(sites=["out"]) if known == "hand" else config)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(noise()), net(noise()))


def test_every_part_at_sites_of_its_own_a_list_of_k_too():
    net = generator()
    attachment = attach(net, ["l0_inf", "l0"], l0_inf={"k": [2, 4], "sites": ["out", "c2"]}, l0={"k": 0.5, "sites": ["c1:output"]})
    assert (consumed(net)[0] != 0).sum(1).max() <= 2 and (consumed(net, "c2")[0] != 0).sum(1).max() <= 4
    assert [str(site) for site in attachment.sites] == ["output of c1", "input of c2", "input of out"]


def test_both_sides_of_one_module():
    net = generator()
    sites = {"l0": {"k": 0.5, "sites": ["c1"]}, "l0_inf": {"k": 2, "sites": ["c1:output"]}}
    attach(net, ["l0", "l0_inf"], **sites, example_input=noise())
    again = generator(1)
    attach(again, ["l0", "l0_inf"], **sites)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(noise()), net(noise())) and len(Attachment.of(net).inserted()) == 1


def test_a_part_elsewhere_is_no_passage_of_the_image():
    """Though l0 acts at c1, an image that is made past l0_inf is refused."""
    net = generator()
    attach(net, ["l0", "l0_inf"], l0={"k": 0.5, "sites": ["c1"]}, l0_inf={"k": 2}, example_input=noise())
    net.out.forward, forward = net.out.forward, net.out.forward
    net(noise())
    net.__dict__["forward"] = lambda z: torch.tanh(forward(net.c1(net.linear(z).view(len(z), -1, 4, 4))))
    with pytest.raises(SiteError, match="without going through the input of"):
        net(noise())


def test_ml_csc_beside_a_penalty():
    net = generator()
    attachment = attach(net, ["l1", "ml_csc"], l1={"weight": 0.1}, ml_csc={"k": 2}, example_input=noise())
    assert [(m.regularizer, m.level) for m in attachment.measure(noise())] == [("l1", 1), ("ml_csc", 2), ("ml_csc", 1)]
    assert len(attachment.parameters()) == 1 and (consumed(net)[0] != 0).sum(1).max() <= 2


# --- What is refused


@pytest.mark.parametrize(
    ("asked", "settings", "said"),
    [
        ([], {}, "the list of regularizers is empty"),
        (["l1", 3], {}, "has 3 in it"),
        ([L0Inf(k=4), L0Inf(k=16)], {}, "L0Inf(k=4) and L0Inf(k=16) are one regularizer twice"),
        (["l0_inf", L0Inf(k=16)], {"l0_inf": {"k": 4}}, "l0_inf(k=4) and L0Inf(k=16) are one regularizer twice"),
        (BOTH, {"weight": 0.1}, "write l1: {weight: 0.1}"),
        (BOTH, {"l1": 0.1}, "the section l1 is 0.1; write l1: {FIELD: VALUE}"),
        (BOTH, {"l0": {"k": 2}}, "there is no section 'l0'"),
        (BOTH, {"l1": {"weigth": 1.0}}, "Did you mean 'weight'?"),
        (BOTH, {"l1": {"weight": 1.0, "sites": []}}, "l1: sites is []"),
        (["l1", L0Inf(k=2)], {"L0Inf": {"k": 3}}, "has its settings already"),
        (["l1", "l0_ing"], {}, "Did you mean 'l0_inf'?"),
        (["l0_channel", "l1"], {}, "field 'k' is missing"),
    ],
)  # fmt: skip
def test_what_is_no_composition(asked, settings, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        attach(generator(), asked, **settings)


def test_a_constraint_that_does_not_keep_what_the_earlier_holds():
    net = generator()
    attach(net, ["l0_inf", "test_compose_shift"], l0_inf={"k": 2})
    with pytest.raises(SiteError, match=re.escape("l0_inf(k=2) no longer holds at the input of out after test_compose_shift()")):
        net(noise())
    other = generator()
    attach(other, ["test_compose_shift", "l0_inf"], l0_inf={"k": 2})
    other(noise())


def test_dictionaries_behind_a_constraint_name_both_k():
    """At first they are the identity, and keep it: nothing would later."""
    with pytest.raises(ConfigError, match=r"ml_csc\(k=3, .*\) inserts dictionaries at the input of out behind l0_inf\(k=1\)"):
        attach(generator(), ["l0_inf", "ml_csc"], l0_inf={"k": 1}, ml_csc={"k": 3}, example_input=noise())
    attach(generator(), ["ml_csc", "l0_inf"], l0_inf={"k": 1}, ml_csc={"k": 3}, example_input=noise())


@pytest.mark.parametrize(
    ("asked", "settings", "said"),
    [
        (["l0", "l0_inf"], {"l0": {"k": "auto"}, "l0_inf": {"k": "auto"}}, "both measure the natural density of Γ"),
        (BOTH, {"l1": {"weight": 1.0, "sites": "nowhere"}}, "nowhere"),
    ],
)
def test_what_a_generator_cannot_hold(asked, settings, said):
    net = generator(kind=Plain)
    before = dict(net.state_dict())
    with pytest.raises((ConfigError, SiteError), match=said):
        attach(net, asked, **settings)
    assert net.state_dict().keys() == before.keys() and Attachment.of(net) is None


def test_sites_that_nothing_stands_at_are_refused():
    with pytest.raises(ConfigError, match="each of l1, l0_inf has sites of its own"):
        attach(generator(), BOTH, l1={"weight": 1.0, "sites": "c1"}, l0_inf={"k": 2, "sites": "c2"}, sites="out")


def test_detach_takes_all_off():
    net, plain = generator(), generator()
    with attach(net, BOTH, **SECTIONS, example_input=noise()):
        pass
    assert torch.equal(net(noise()), plain(noise())) and not net.out._forward_pre_hooks

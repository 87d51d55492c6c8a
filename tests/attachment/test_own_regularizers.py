"""Regularizers of somebody's own at work: what they remember, what their checkpoints say, and what the log says of them."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from generators import Plain, noise

import sparse_plugin
from sparse_plugin import Constraint, Penalty, SparsityConfig, attach
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.measurements.gamma import Measurement
from sparse_plugin.registry import REGULARIZERS, AtomPenalty
from sparse_plugin.registry.l0_inf import L0Inf
from sparse_plugin.registry.l1 import L1


class Half(Constraint):
    share: float = 0.5

    def project(self, gamma):
        return gamma * self.share


class Levelled(Constraint):
    """Divides each channel by the largest magnitude that training has seen of it."""

    memory_per_channel = 1
    _memory: Any = None

    def remembering(self, memory, training):
        made = self.model_copy()
        made._memory = memory
        return made

    def notes(self, gamma, sparse):
        return gamma.abs().amax((0, 2, 3))

    def stepped(self, memory, noted, steps):
        torch.maximum(memory, noted, out=memory)
        return ""

    def project(self, gamma):
        return gamma if self._memory is None else gamma / self._memory.clamp(min=1)[:, None, None]


def train(generator, steps=2):
    optimizer = torch.optim.SGD(generator.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        generator(noise(4)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("beside", [[], ["l0_inf"]])
def test_a_constraint_with_numbers_for_each_channel_alone_gets_them(beside):
    generator = Plain()
    attach(generator, [Levelled(), *beside] if beside else Levelled(), example_input=noise(4))
    train(generator)
    memory = generator.main[6].sparse_plugin.memory
    assert memory.shape == (8,) and (memory > 1).any()
    gammas = []
    generator.eval().main[5].register_forward_hook(lambda m, a, out: gammas.append(out))
    consumed = []
    generator.main[6].register_forward_pre_hook(lambda m, args: consumed.append(args[0]))
    image = generator(noise(4))
    levelled = gammas[0] / memory.clamp(min=1)[:, None, None]
    assert torch.equal(consumed[0], L0Inf(k=0.25).project(levelled) if beside else levelled)
    other = Plain()
    attach(other, [Levelled(), *beside] if beside else Levelled(), example_input=noise(4))
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other.eval()(noise(4)), image) and torch.equal(copy.deepcopy(generator)(noise(4)), image)


def test_one_with_numbers_for_each_channel_is_no_constraint_of_ml_csc_or_revival():
    class Counted(Levelled):
        k: float = 0.5

    sparse_plugin.register("counted")(Counted)
    try:
        for outer in ("ml_csc", "revival"):
            with pytest.raises(ConfigError, match="constraint is 'counted'"):
                SparsityConfig.from_mapping({"regularizer": outer, "k": 0.5, "constraint": "counted"}).build()
    finally:
        REGULARIZERS.unregister("counted")


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (L0Inf(k=4), {"regularizer": "l0_inf", "k": 4}),
        ([L1(weight=0.5), L0Inf(k=0.5)], {"regularizer": ["l1", "l0_inf"], "l1": {"weight": 0.5}, "l0_inf": {"k": 0.5}}),
        (Half(share=0.25), {"regularizer": "half", "share": 0.25}),
    ],
)
def test_the_checkpoint_of_an_object_is_that_of_its_registered_name(made, named):
    sparse_plugin.register("half")(Half)
    try:
        generator, other = Plain(), Plain()
        attach(generator, made, example_input=noise(4))
        state = generator.state_dict()
        settings = json.loads(bytes(state["main.6.sparse_plugin._extra_state"].to(torch.uint8).tolist()))
        found = SparsityConfig.from_data(settings, "the checkpoint")
        attach(other, found, example_input=noise(4))  # as it is sampled
        assert found.build().settings() == SparsityConfig.from_mapping(named).build().settings()
        other.load_state_dict(state)
        assert torch.equal(other.eval()(noise(4)), generator.eval()(noise(4)))
        generator.load_state_dict(other.state_dict())
        waiting = Plain()  # whose site is not known yet
        attach(waiting, SparsityConfig.from_mapping(named))
        waiting.load_state_dict(state)
    finally:
        REGULARIZERS.unregister("half")


def test_an_object_of_another_class_or_setting_is_refused_as_before():
    generator, other = Plain(), Plain()
    attach(generator, L0Inf(k=4), example_input=noise(4))
    attach(other, "l0_inf", k=5, example_input=noise(4))
    with pytest.raises(CheckpointError, match=r"trained with L0Inf\(k=4\), and the generator is attached with l0_inf\(k=5\)"):
        other.load_state_dict(generator.state_dict())
    with pytest.raises(CheckpointError, match="trained with 'Half', which is not registered here"):
        SparsityConfig.from_data({"regularizer": "Half", "share": 0.5}, "the checkpoint")


def test_nan_among_settings_is_the_same_nan_in_a_checkpoint():
    generator, other = Plain(), Plain()
    attach(generator, Half(share=math.nan), example_input=noise(4))
    attach(other, Half(share=float("nan")), example_input=noise(4))
    other.load_state_dict(generator.state_dict())


def test_a_setting_that_is_called_like_a_key_of_the_log_hides_none(tmp_path):
    class Named(Penalty):
        level: float
        step: float = 1.0
        tau: float = 1.0

        def penalty(self, gamma):
            return self.level * gamma.abs().mean()

    generator = Plain()
    attach(generator, Named(level={"start": 0.5, "end": 1.0, "steps": 4}, step={"start": 7.0, "end": 9.0, "steps": 4},
                            tau={"start": 0.5, "end": 1.0, "steps": 4}), example_input=noise(4), run_dir=tmp_path, measure_every=1)  # fmt: skip
    train(generator, 3)
    lines = [json.loads(line) for line in (tmp_path / "sparsity.jsonl").read_text().splitlines()]
    assert [line["level"] for line in lines] == [1, 1, 1] and len({line["step"] for line in lines}) == 3
    assert {line["Named.step"] for line in lines} <= {7.0, 7.5, 8.0} and "Named.level" in lines[0] and lines[0]["tau"] == 0.5


def test_what_is_measured_hides_none_either():
    density, used = torch.ones(2, 2), torch.ones(3)
    record = Measurement("c", 1, 50.0, 25.0, density, used, regularizer="mine", measured={"sparsity": 3.0, "other": 1.0}).record()
    assert (record["sparsity"], record["mine.sparsity"], record["other"]) == (25.0, 3.0, 1.0)


def test_one_of_two_kinds_is_refused():
    class Both(Half, Penalty):
        def penalty(self, gamma):
            return gamma.abs().mean()

    with pytest.raises(ConfigError, match="Both is derived from Constraint and from Penalty, .* write two"):
        attach(Plain(), Both(), example_input=noise(4))
    with pytest.raises(ConfigError, match="derived from Constraint and from Penalty"):
        sparse_plugin.register("both")(Both)


class Dropped(Constraint):
    share: float

    def project(self, gamma):
        return gamma * (torch.rand_like(gamma) >= self.share)


class Jittered(Penalty):
    weight: float

    def penalty(self, gamma):
        return self.weight * (gamma * torch.randn_like(gamma)).square().mean()


class JitteredAtoms(AtomPenalty):
    weight: float

    def of_atoms(self, operator):
        return self.weight * (operator.atoms * torch.randn_like(operator.atoms)).square().mean()


RISING = {"start": 0.0, "end": 0.5, "steps": 4}


def trained(regularizer, resumed_at=None, **logged):
    torch.manual_seed(0)
    generator = Plain()
    attach(generator, regularizer, **logged)
    for step in range(4):
        if step == resumed_at:
            state, drawn = generator.state_dict(), torch.get_rng_state()
            generator = Plain()
            attach(generator, regularizer, **logged)
            generator.load_state_dict(state)
            torch.set_rng_state(drawn)
        train(generator, 1)
    return generator.main[0].weight


def test_what_draws_at_random_is_resumed_to_the_bit():
    whole = trained(Dropped(share=RISING))
    assert torch.equal(trained(Dropped(share=RISING)), whole) and torch.equal(trained(Dropped(share=RISING), resumed_at=2), whole)


@pytest.mark.parametrize("regularizer", [Dropped(share=0.3), Dropped(share=RISING), Jittered(weight=1.0), JitteredAtoms(weight=1.0)])
def test_what_draws_at_random_is_logged_without_a_trace(regularizer, tmp_path):
    assert torch.equal(trained(regularizer, run_dir=tmp_path, measure_every=1), trained(regularizer))
    assert len((tmp_path / "sparsity.jsonl").read_text().splitlines()) == 4

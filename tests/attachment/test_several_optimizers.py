"""Steps of a generator whose parts are trained by several optimizers."""

from functools import partial

import pytest
import torch
from generators import Padded, noise
from scheduled import LINEAR, attached, dense, train
from torch.distributed.optim import ZeroRedundancyOptimizer

import sparse_plugin
from sparse_plugin.errors import PenaltyError
from sparse_plugin.measurements.log import FILE, read


class TestSeveralOptimizers:
    """Where each trains a part of the generator, one round of them is a step."""

    def rounds(self, generator, parts, count=3, handle=None):
        optimizers = [torch.optim.SGD(list(part), 1e-3) for part in parts]
        for _ in range(count):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = generator(noise()).square().mean()
            (loss if handle is None else loss + handle.penalty()).backward()
            for optimizer in optimizers:
                optimizer.step()
        return int(sparse_plugin.Attachment.of(generator).inserted()[0].training_step.step) if handle is None else None

    def parts(self, generator):
        head = set(generator.out.parameters())
        rest = [p for p in generator.parameters() if p not in head]
        return [rest[:3], rest[3:], list(generator.out.parameters())]

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
    def test_a_round_is_a_step(self, order, tmp_path):
        generator, _ = attached(run_dir=tmp_path, measure_every=1)
        parts = self.parts(generator)
        assert self.rounds(generator, [parts[place] for place in order]) == 3
        assert [line["step"] for line in read(tmp_path / FILE)] == [1, 2, 3]

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
    def test_behind_padding_and_where_d1_is_frozen(self, order):
        padded = Padded()
        sparse_plugin.attach(padded, "l0_inf", k=LINEAR, example_input=noise())
        parts = [[padded.body.weight], [padded.body.bias], list(padded.head.parameters())]
        assert self.rounds(padded, [parts[place] for place in order]) == 3
        frozen, _ = attached()
        frozen.out.requires_grad_(False)
        assert self.rounds(frozen, self.parts(frozen)[:2]) == 3

    def test_an_optimizer_for_each_parameter(self):
        """As where steps are taken within the backward pass."""
        generator, _ = attached()
        assert self.rounds(generator, [[p] for p in generator.parameters()]) == 3
        biased, _ = attached()
        biased.out.weight.requires_grad_(False)
        assert self.rounds(biased, [[p] for p in biased.parameters() if p.requires_grad]) == 3

    def test_one_that_takes_two_steps_takes_two(self):
        generator, _ = attached()
        everything = list(generator.parameters())
        assert self.rounds(generator, [everything, everything], 1) == 2  # each trains D1

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
    def test_a_penalty_that_is_taken_once_is_in_the_steps_of_all(self, order):
        generator = dense()
        handle = sparse_plugin.attach(generator, "l1", weight=1.0, delivery="loss", example_input=noise())
        parts = self.parts(generator)
        self.rounds(generator, [parts[place] for place in order], handle=handle)
        with pytest.raises(PenaltyError, match="took a step without its penalty"):
            train(generator, 2)

    def test_dictionaries_may_be_trained_by_the_last_of_them(self):
        generator = dense()
        sparse_plugin.attach(generator, "ml_csc", k=LINEAR, levels=2, example_input=noise())
        assert self.rounds(generator, self.parts(generator)) == 3

    @pytest.mark.parametrize("kind", ["sam", "zero"])
    def test_one_that_has_another_take_its_step_takes_one(self, kind, tmp_path):
        """As SAM, Lookahead and torch's ZeroRedundancyOptimizer do: both are optimizers of torch."""

        class Around(torch.optim.Optimizer):
            def __init__(self, parameters, **defaults):
                super().__init__(parameters, defaults)
                self.base = torch.optim.SGD(self.param_groups, **defaults)

            def step(self, closure=None):
                self.base.step()

        generator, handle = attached(run_dir=tmp_path, measure_every=1)
        if kind == "zero":
            torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
        try:
            make = Around if kind == "sam" else partial(ZeroRedundancyOptimizer, optimizer_class=torch.optim.SGD)
            train(generator, 3, make(list(generator.parameters()), lr=1e-3))
        finally:
            if kind == "zero":
                torch.distributed.destroy_process_group()
        assert int(handle.inserted()[0].training_step.step) == 3
        assert [line["step"] for line in read(tmp_path / FILE)] == [1, 2, 3]

    def test_one_within_another_that_trains_something_else_counts(self):
        """As where one object steps several optimizers, and has a parameter of its own because torch asks for one."""

        class All(torch.optim.Optimizer):
            def __init__(self, *inner):
                super().__init__([torch.nn.Parameter(torch.zeros(1))], {})
                self.inner = inner

            def zero_grad(self):
                for each in self.inner:
                    each.zero_grad()

            def step(self, closure=None):
                for each in self.inner:
                    each.step()

        generator, handle = attached()
        train(generator, 2, All(torch.optim.SGD(generator.parameters(), 1e-3)))
        assert int(handle.inserted()[0].training_step.step) == 2

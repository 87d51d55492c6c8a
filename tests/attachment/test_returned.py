"""What somebody's project() and penalty() give back is what was promised, or is refused with the regularizer's name."""

import re

import pytest
import torch
from generators import Plain, noise

from sparse_plugin import Constraint, Penalty, attach
from sparse_plugin.attachment import returned
from sparse_plugin.errors import GammaError, PenaltyError
from sparse_plugin.registry import AtomPenalty


def constraint(does):
    class Mine(Constraint):
        def project(self, gamma):
            return does(gamma)

    return Mine()


def penalty(does):
    class Mine(Penalty):
        def penalty(self, gamma):
            return does(gamma)

    return Mine()


def small_to_zero(gamma):
    gamma[gamma.abs() < 0.5] = 0
    return gamma


WRONG = {
    "None": lambda gamma: None,
    "a tuple": lambda gamma: (gamma, gamma),
    "a ndarray": lambda gamma: gamma.detach().numpy(),
    "shape (4, 8, 1, 1)": lambda gamma: gamma.mean((2, 3), keepdim=True),
    "shape (1, 8,": lambda gamma: gamma[:1],
    "float64": lambda gamma: gamma.double(),
    "torch.bool": lambda gamma: gamma.abs() > 0.1,
    "meta": lambda gamma: gamma.to("meta"),
    "changed Γ itself": small_to_zero,
}


@pytest.mark.parametrize("sites", [(), ["main.3:output"]])
@pytest.mark.parametrize("told", WRONG)
@pytest.mark.parametrize("when", ["at attach", "in the first forward"])
def test_what_cannot_stand_in_the_place_of_gamma_is_refused(told, sites, when):
    wrong, generator = constraint(WRONG[told]), Plain()
    with pytest.raises(GammaError) as caught:
        attach(generator, wrong, sites=sites, example_input=noise(4) if when == "at attach" else None)
        generator(noise(4))
    assert told in str(caught.value) and "project() of Mine()" in str(caught.value)


def test_a_log_that_is_due_does_not_come_upon_it_first(tmp_path):
    generator = Plain()
    attach(generator, constraint(WRONG["None"]), run_dir=tmp_path)
    with pytest.raises(GammaError, match="returned None"):
        generator(noise(4))


def test_a_later_forward_is_looked_at_too():
    kept = [lambda gamma: gamma * 1, lambda gamma: gamma[:, :, :1, :1]]
    generator = Plain()
    attach(generator, constraint(lambda gamma: kept[0](gamma)), example_input=noise(4))
    generator(noise(4))
    kept.pop(0)
    with pytest.raises(GammaError, match="one of shape"):
        generator(noise(4))


def test_a_compiled_forward_is_looked_at():
    generator = Plain()
    attach(generator, constraint(lambda gamma: gamma.amax((2, 3), keepdim=True)))
    with pytest.raises(Exception, match="one of shape"):
        torch.compile(generator, backend="eager")(noise(4))


@pytest.mark.parametrize("does", [lambda gamma: gamma, lambda gamma: gamma.view_as(gamma), lambda gamma: gamma.clone().clamp_(-1, 1)])
def test_gamma_itself_a_view_of_it_and_a_copy_that_was_written_into_are_let_through(does):
    generator = Plain()
    before = generator(noise(4))
    attach(generator, constraint(does), example_input=noise(4))
    assert generator(noise(4)).shape == before.shape
    with torch.inference_mode():
        generator(noise(4))


def test_under_autocast_operations_choose_their_types():
    generator = Plain()
    attach(generator, constraint(lambda gamma: gamma.float() * 0.5), example_input=noise(4))
    with torch.autocast("cpu", torch.bfloat16):
        generator(noise(4)).float().mean().backward()
    with pytest.raises(GammaError, match="bfloat16"):
        generator.bfloat16()(noise(4).bfloat16())


def test_a_projection_without_a_graph_is_refused_in_training_alone():
    generator = Plain()
    attach(generator, constraint(lambda gamma: gamma.detach() * 0.5), example_input=noise(4))
    with torch.no_grad():
        generator(noise(4))
    with pytest.raises(GammaError, match="nothing before D1 would be trained"):
        generator(noise(4))


def test_what_fails_in_a_method_is_not_laid_to_the_input():
    class Fails(Constraint):
        memory = 1
        where: str

        def remembering(self, memory, training):
            return self.fails("remembering()") or self

        def project(self, gamma):
            return self.fails("project()") or gamma

        def holds(self, gamma):
            return not self.fails("holds()")

        def fails(self, method):
            if self.where == method:
                raise ValueError("no such luck")

    for method in ("remembering()", "project()", "holds()"):
        with pytest.raises(GammaError, match=rf"{re.escape(method)} of Fails\(.*\) fails on .* ValueError: no such luck") as caught:
            attach(Plain(), Fails(where=method), example_input=noise(4))
        assert isinstance(caught.value.__cause__, ValueError)
        generator = Plain()
        attach(generator, Fails(where=method))
        with pytest.raises(ValueError, match="no such luck"):  # as any code of somebody's own in a forward
            generator(noise(4))


def test_what_remembers_has_to_be_a_constraint():
    class Forgets(Constraint):
        memory = 1

        def remembering(self, memory, training):
            """Without a return."""

        def project(self, gamma):
            return gamma

    with pytest.raises(GammaError, match=r"remembering\(\) of Forgets\(\) returned None"):
        attach(Plain(), Forgets(), example_input=noise(4))


NO_TERM = {
    "shape (4,)": lambda gamma: gamma.abs().mean((1, 2, 3)),
    "shape (4, 8": lambda gamma: gamma.abs(),
    "is 0.0": lambda gamma: 0.0,
    "is None": lambda gamma: None,
    "no tensor": lambda gamma: gamma.abs().mean().item(),
    "int64": lambda gamma: (gamma != 0).sum(),
    "has no gradient": lambda gamma: (gamma != 0).float().mean(),
    "has no gradient, ": lambda gamma: gamma.detach().abs().mean(),
}


def step(generator, delivery, attachment):
    loss = generator(noise(4)).square().mean()
    if delivery == "loss":
        loss = loss + attachment.penalty()
    loss.backward()
    return [parameter.grad for parameter in generator.parameters()]


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
@pytest.mark.parametrize("told", NO_TERM)
def test_what_is_no_term_of_a_loss_is_refused(told, delivery):
    generator = Plain()
    attachment = attach(generator, penalty(NO_TERM[told]), delivery=delivery, example_input=noise(4))
    with pytest.raises(PenaltyError, match="the penalty of Mine") as caught:
        step(generator, delivery, attachment)
    assert told in str(caught.value)


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_constant_0_is_a_penalty_of_nothing_and_one_entry_is_a_scalar(delivery):
    def grads(does):
        torch.manual_seed(0)
        generator = Plain()
        return step(generator, delivery, attach(generator, penalty(does), delivery=delivery, example_input=noise(4)))

    without = grads(lambda gamma: (gamma * 0).mean())
    assert all(map(torch.equal, grads(lambda gamma: gamma.new_zeros(())), without))
    scalar = grads(lambda gamma: gamma.square().mean())
    assert all(map(torch.equal, grads(lambda gamma: gamma.square().mean()[None]), scalar))
    assert not all(map(torch.equal, scalar, without))


def test_a_penalty_of_atoms_is_looked_at_too():
    class OneEach(AtomPenalty):
        def of_atoms(self, operator):
            return operator.atoms.flatten(1).norm(dim=1)

    generator = Plain()
    attach(generator, OneEach(), example_input=noise(4))
    with pytest.raises(PenaltyError, match=r"the penalty of OneEach\(\) is a tensor of shape \(8,\)"):
        generator(noise(4)).mean().backward()


def test_what_is_recorded_into_a_program_is_not_asked_for_its_version():
    mine = constraint(lambda gamma: gamma * 0.5)
    gamma = torch.randn(2, 4, 3, 3)
    slope = torch.func.grad(lambda g: returned.represent(mine, g).sum())(gamma)
    assert torch.equal(slope, torch.full_like(gamma, 0.5))
    assert torch.equal(torch.func.vmap(lambda g: returned.represent(mine, g[None])[0])(gamma), gamma * 0.5)
    assert torch.equal(torch.jit.trace(lambda g: returned.represent(mine, g), gamma)(gamma), gamma * 0.5)

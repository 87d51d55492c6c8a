"""Penalties reach the generator's loss exactly once, by either way."""

import pickle

import pytest
import torch
from generators import Plain, Residual, noise
from torch import nn

from sparse_plugin import Penalty, attach
from sparse_plugin.errors import PenaltyError

WEIGHT = 0.7


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 4, 2)
        self.l = nn.LazyLinear(1)

    def forward(self, x):
        return self.l(torch.relu(self.c(x)).flatten(1))


def models(kind=Residual):
    torch.manual_seed(0)
    generator, critic = kind(), Critic()
    critic(generator(noise()))
    return generator, critic


def gan_step(generator, critic, penalty=lambda: 0.0, micro=1, scaler=None, last=None):
    """A step as hosts take it: D on detached images, then G; the gradients of G, unscaled, and G's parameters after it."""
    opt_d = torch.optim.SGD(critic.parameters(), 0.01)
    opt_g = torch.optim.SGD(generator.parameters(), 0.01)
    critic(generator(noise(8, seed=9)).detach()).mean().backward()
    opt_d.step()
    opt_g.zero_grad()
    for part in noise(8).chunk(micro):
        loss = (-critic(generator(part)).mean() + penalty()) / micro
        (loss if scaler is None else scaler.scale(loss)).backward()
    if scaler is None:
        opt_g.step()
    else:
        scaler.step(opt_g)
        scaler.update()
    return [p.detach().clone() for p in generator.parameters()]


def explicit(site, micro=1, kind=Residual):
    generator, critic = models(kind)
    latest = []
    generator.get_submodule(site).register_forward_pre_hook(lambda m, args: latest.append(args[0]))
    return gan_step(generator, critic, lambda: WEIGHT * latest[-1].abs().mean(), micro)


def close(ours, theirs, tolerance=1e-6):
    return all(torch.allclose(a, b, atol=tolerance) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("kind", "site"), [(Residual, "out"), (Plain, "main.6")], ids=["residual", "plain"])
@pytest.mark.parametrize("scaled", [False, True], ids=["", "loss-scaling"])
@pytest.mark.parametrize("micro", [1, 4], ids=["", "accumulation"])
@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_equals_an_explicit_term(kind, site, delivery, micro, scaled):
    generator, critic = models(kind)
    attachment = attach(generator, "l1", weight=WEIGHT, delivery=delivery, accumulation=micro)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12) if scaled else None
    term = attachment.penalty if delivery == "loss" else lambda: 0.0
    ours = gan_step(generator, critic, term, micro, scaler)
    without = gan_step(*models(kind), micro=micro)
    assert close(ours, explicit(site, micro, kind))
    assert not close(ours, without, 1e-5)


def test_sum_reduction_is_the_papers_norm_of_a_sample():
    generator = Residual()
    attachment = attach(generator, "l1", weight=2.0, reduction="sum", delivery="loss")
    gamma = []
    generator.out.register_forward_pre_hook(lambda m, args: gamma.append(args[0]), prepend=True)
    image = generator(noise(4))
    assert torch.allclose(attachment.penalty(), 2 * gamma[0].abs().sum((1, 2, 3)).mean())
    del image  # its graph kept Γ


def test_nothing_is_added_where_the_images_are_detached():
    generator, _ = models()
    attach(generator, "l1", weight=WEIGHT)
    generator(noise()).detach()
    assert all(p.grad is None for p in generator.parameters())


def test_the_latest_forward_counts():
    generator, _ = models()
    attachment = attach(generator.eval(), "l1", weight=WEIGHT, delivery="loss")
    images = [generator(noise(seed=1)), generator(noise(seed=2))]
    latest = attachment.penalty()
    assert torch.equal(latest, attachment.penalty())
    images.append(generator(noise(seed=1)))
    assert not torch.equal(latest, attachment.penalty())


def test_a_penalty_without_a_representation():
    generator, _ = models()
    attachment = attach(generator, "l1", weight=WEIGHT, delivery="loss")
    with pytest.raises(PenaltyError, match="no representation to penalize"):
        attachment.penalty()
    with torch.no_grad():
        generator(noise())
    with pytest.raises(PenaltyError, match="no representation to penalize"):
        attachment.penalty()
    generator(noise()).detach()  # the graph is gone, and with it Γ: nothing is kept alive
    with pytest.raises(PenaltyError, match="no representation to penalize"):
        attachment.penalty()


def test_a_forgotten_penalty_stops_the_run():
    generator, critic = models()
    attach(generator, "l1", weight=WEIGHT, delivery="loss")
    with pytest.raises(PenaltyError, match=r"took a step without its penalty l1"):
        gan_step(generator, critic)


def test_a_penalty_added_twice_is_refused():
    generator, _ = models()
    attachment = attach(generator, "l1", weight=WEIGHT)
    generator(noise())
    with pytest.raises(PenaltyError, match="count it twice"):
        attachment.penalty()


def test_a_constraint_has_no_penalty():
    with pytest.raises(PenaltyError, match="is a constraint"):
        attach(Residual(), "l0_inf", k=2).penalty()


def test_accumulation_that_nobody_mentioned_is_said(caplog):
    generator, critic = models()
    attach(generator, "l1", weight=WEIGHT)
    gan_step(generator, critic, micro=4)
    assert "added 4 times before one step" in caplog.text


def test_second_order_gradients_through_the_generator(caplog):
    """Path-length regularization has forward passes of its own: their gradients come out as without the penalty."""
    generator, _ = models()
    plain = pickle.loads(pickle.dumps(generator))
    attach(generator, "l1", weight=WEIGHT)
    for g in (generator, plain):
        z = noise().requires_grad_()
        image = g(z)
        (slope,) = torch.autograd.grad(image.square().sum(), z, create_graph=True)
        (slope.norm() + 0 * image.mean()).backward()
    theirs = dict(plain.named_parameters())
    for name, p in generator.named_parameters():
        assert torch.equal(p.grad, theirs[name].grad), name
    assert "second-order" in caplog.text


def test_half_precision_is_penalized_in_float32():
    class Total(Penalty):
        def penalty(self, gamma):
            assert gamma.dtype == torch.float32
            return gamma.abs().sum()

    generator = Residual()
    attachment = attach(generator, Total(), delivery="loss")
    with torch.autocast("cpu", torch.bfloat16):
        image = generator(noise())
        term = attachment.penalty()
    assert term.dtype == torch.float32
    (image.float().mean() + term).backward()
    assert generator.c1.weight.grad.isfinite().all()


def test_memory_is_not_held_between_steps():
    generator, critic = models()
    attachment = attach(generator, "l1", weight=WEIGHT, delivery="loss")
    gan_step(generator, critic, attachment.penalty)
    assert not attachment.pending


def test_loss_scaling_of_a_compiled_penalty_is_refused():
    """Its gradient is a constant of the graph: scaled down with the rest, it would be as good as off."""
    generator, _ = models()
    attach(generator, "l1", weight=WEIGHT, example_input=noise())
    compiled = torch.compile(generator, backend="eager")
    loss = compiled(noise()).square().mean()
    with pytest.raises(PenaltyError, match="cannot follow a GradScaler"):
        torch.amp.GradScaler("cpu", init_scale=8.0).scale(loss)

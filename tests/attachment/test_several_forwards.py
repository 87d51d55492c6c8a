"""A loss of several forwards has the penalty of all of them as one batch, whichever way it is delivered."""

import pytest
import torch
from generators import Residual, noise
from torch import nn

from sparse_plugin import SparsityConfig, attach
from sparse_plugin.attachment.penalty import _said
from sparse_plugin.hosts.session import Session

WEIGHT = 0.7


def make():
    torch.manual_seed(0)
    return Residual().eval()  # batch statistics would tell one joint forward from two


def critic(image):
    return image.square().mean()


def explicit(sizes):
    """The term written into the loss: weight times the mean of |Γ| over all samples."""
    generator, gammas = make(), []
    generator.out.register_forward_pre_hook(lambda module, args: gammas.append(args[0]))
    loss = mode_seeking(generator, sizes)
    (loss + WEIGHT * torch.cat(gammas).abs().mean()).backward()
    return gradients(generator)


def mode_seeking(generator, sizes):
    """Two forwards in one loss: both are judged, and their images are to differ."""
    images = [generator(noise(size, seed)) for seed, size in enumerate(sizes)]
    return sum(critic(image) for image in images) + 1 / (images[0].mean() - images[1].mean()).abs().add(1)


def gradients(generator):
    return torch.cat([p.grad.flatten() for p in generator.parameters()])


@pytest.mark.parametrize("sizes", [(4, 4), (6, 2)])
@pytest.mark.parametrize("delivery", ["gradient", "loss"])
@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_mode_seeking_equals_an_explicit_term(sizes, delivery, scale, caplog):
    generator = make()
    attachment = attach(generator, "l1", weight=WEIGHT, delivery=delivery)
    optimizer = torch.optim.SGD(generator.parameters(), 0.0)
    stale = generator(noise(3, seed=7))  # a discriminator's forward whose graph is still alive is no part of it
    loss = mode_seeking(generator, sizes)
    if delivery == "loss":
        loss = loss + attachment.penalty(loss)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1)
    scaler.scale(loss).backward()
    assert torch.allclose(gradients(generator) / scale, explicit(sizes), atol=1e-6)
    optimizer.step()
    assert "before one step" not in caplog.text
    del stale


def test_one_joint_forward_is_the_same():
    """As MSGAN takes it: two batches of noise side by side."""
    generator = make()
    attach(generator, "l1", weight=WEIGHT)
    first, second = generator(torch.cat([noise(4, 0), noise(4, 1)])).chunk(2)
    (critic(first) + critic(second) + 1 / (first.mean() - second.mean()).abs().add(1)).backward()
    assert torch.allclose(gradients(generator), explicit((4, 4)), atol=1e-6)


def test_a_host_that_computes_its_loss_for_each_forward():
    """Each call takes half of the penalty, of the forward that it judges."""
    session = Session(SparsityConfig.from_mapping({"regularizer": "l1", "weight": WEIGHT, "delivery": "loss"}))
    session.request.active = True
    generator = make()
    session.built(generator, None)
    judged = session.add_penalty(0.5)
    images = [generator(noise(4, seed)) for seed in range(2)]
    loss = sum(judged(critic, None, (image,), {}) for image in images)
    (loss + 1 / (images[0].mean() - images[1].mean()).abs().add(1)).backward()
    assert torch.allclose(gradients(generator), explicit((4, 4)), atol=1e-6)
    session.stop()


def test_backward_passes_of_their_own_take_a_penalty_each():
    """Accumulation: two losses, two backward passes, each with the penalty of its own forward."""
    generator, other = make(), make()
    attach(generator, "l1", weight=WEIGHT)
    attach(other, "l1", weight=WEIGHT)
    losses = [critic(generator(noise(4, seed))) for seed in range(2)]
    for loss in losses:
        loss.backward()
    for seed in range(2):
        critic(other(noise(4, seed))).backward()
    assert torch.allclose(gradients(generator), gradients(other), atol=1e-7)


def test_gradients_that_are_asked_for_by_name():
    """torch.autograd.grad goes through both forwards, or through one."""
    generator = make()
    attach(generator, "l1", weight=WEIGHT)
    gammas, images = [], []
    generator.out.register_forward_pre_hook(lambda module, args: gammas.append(args[0]), prepend=True)
    for seed in range(2):
        images.append(generator(noise(4, seed)))
    for count in (2, 1):
        slopes = torch.autograd.grad(
            0 * sum(image.sum() for image in images[:count]), gammas[:count], retain_graph=True
        )
        for gamma, slope in zip(gammas, slopes, strict=False):
            assert torch.allclose(slope, WEIGHT * gamma.sign() / gamma.numel() / count, atol=1e-9)


def test_the_latest_alone_is_said(caplog):
    _said.clear()
    generator = make()
    attachment = attach(generator, "l1", weight=WEIGHT, delivery="loss")
    images = [generator(noise(4, seed)) for seed in range(2)]
    attachment.penalty()
    assert "penalty() is that of the latest forward; attachment.penalty(loss) takes the mean" in caplog.text
    caplog.clear()
    _said.clear()
    del images
    for seed in range(2):  # one at a time, as most do
        loss = critic(generator(noise(4, seed)))
        (loss + attachment.penalty()).backward()
    assert not caplog.text


def test_a_loss_that_no_forward_made():
    generator = make()
    attachment = attach(generator, "l1", weight=WEIGHT, delivery="loss")
    images = [generator(noise(4, seed)) for seed in range(2)]
    latest = attachment.penalty()
    assert torch.equal(attachment.penalty(torch.zeros(())), latest)
    assert torch.equal(attachment.penalty(nn.Parameter(torch.zeros(())) * 2), latest)
    del images


def latent_optimisation(generator, judge):
    """As of LOGAN: the slope of a first forward makes the noise of the second, whose loss goes through both."""
    z = noise(4).requires_grad_()
    (slope,) = torch.autograd.grad(judge(generator(z)).sum(), z, create_graph=True)
    return judge(generator(z + 0.9 * slope)).mean()


def inner_step(generator, judge):
    """The slope of a first forward, penalty and all, makes the weights of the second."""
    weights = dict(generator.named_parameters())
    slopes = torch.autograd.grad(judge(generator(noise(4))).mean() + generator.extra(), weights.values(), create_graph=True)
    moved = {name: weight - 0.5 * slope for (name, weight), slope in zip(weights.items(), slopes, strict=True)}
    return judge(torch.func.functional_call(generator, moved, (noise(4, seed=1),))).mean()


@pytest.mark.parametrize(
    ("loss_of", "delivery"), [(latent_optimisation, "gradient"), (latent_optimisation, "loss"), (inner_step, "gradient")]
)
def test_a_forward_that_makes_noise_or_weights_takes_no_share_of_the_penalty(loss_of, delivery):
    def judge(images):
        return images.square().mean((1, 2, 3))

    wanted, gammas = make(), []
    wanted.out.register_forward_pre_hook(lambda module, args: gammas.append(args[0]))
    wanted.extra = lambda: WEIGHT * gammas[-1].abs().mean()
    loss = loss_of(wanted, judge)
    (loss + wanted.extra()).backward()
    generator = make()
    generator.extra = lambda: 0
    attachment = attach(generator, "l1", weight=WEIGHT, delivery=delivery)
    loss = loss_of(generator, judge)
    (loss + attachment.penalty(loss) if delivery == "loss" else loss).backward()
    assert torch.allclose(gradients(generator), gradients(wanted), atol=1e-6)

"""A penalty under accelerate: accumulated and scaled as the loss is, and in the generator's own loss alone."""

import copy

import pytest
import torch
from torch import nn

from sparse_plugin import attach

accelerate = pytest.importorskip("accelerate")

WEIGHT = 0.5


@pytest.fixture(autouse=True)
def fresh():
    """accelerate keeps its state for the whole process."""
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def networks():
    torch.manual_seed(0)
    g = nn.Sequential(nn.ConvTranspose2d(6, 8, 4), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    d = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 1))
    return g, d


def noise(seed):
    return torch.randn(4, 6, 1, 1, generator=torch.Generator().manual_seed(seed))


def gammas_and_images(g, z):
    gamma = g[1](g[0](z))
    return gamma, g[2](gamma)


def by_hand(divide, seeds=(0, 1)):
    """The gradients of a generator whose losses are divided and have their penalty in them."""
    g, d = networks()
    for seed in seeds:
        gamma, image = gammas_and_images(g, noise(seed))
        ((-d(image).mean() + WEIGHT * gamma.abs().mean()) / divide).backward()
    return [p.grad for p in g.parameters()]


def close(g, expected):
    for p, grad in zip(g.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad)


def kinds():
    class Own(accelerate.Accelerator):
        """As trainers derive it."""

        def backward(self, loss, **kwargs):
            super().backward(loss, **kwargs)

    return [accelerate.Accelerator, Own]


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("said", [True, False], ids=["accumulate", "by hand"])
def test_an_accumulated_loss_has_its_penalty_once(kind, said, caplog):
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, example_input=noise(0))
    accelerator = kind(gradient_accumulation_steps=2, cpu=True)
    optimizer = torch.optim.SGD(g.parameters(), 0.0)
    model, optimizer = accelerator.prepare(g, optimizer)
    for seed in (0, 1):
        with accelerator.accumulate(*([model] if said else [])):
            accelerator.backward(-d(model(noise(seed))).mean())
            optimizer.step()  # of the second alone
    close(g, by_hand(2))
    assert "accumulation" not in caplog.text


def test_accumulation_that_is_told_stays(caplog):
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, accumulation=2, example_input=noise(0))
    accelerator = accelerate.Accelerator(gradient_accumulation_steps=2, cpu=True)
    for seed in (0, 1):
        accelerator.backward(-d(g(noise(seed))).mean())
    close(g, by_hand(2))


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_loss_of_the_discriminator_has_none(wrapped):
    """Where images are not detached the discriminator's loss reaches the generator too."""
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, example_input=noise(0))
    accelerator = accelerate.Accelerator(cpu=True)
    model, critic = accelerator.prepare(g, d)
    if wrapped:
        critic = nn.parallel.DataParallel(critic)  # as accelerate hands on what it wraps
    image = model(noise(0))
    with accelerator.accumulate(critic):
        accelerator.backward(d(image).mean())
    plain, judge = networks()
    judge(plain(noise(0))).mean().backward()
    close(g, [p.grad for p in plain.parameters()])
    g.zero_grad()
    with accelerator.accumulate(model):
        accelerator.backward(-d(model(noise(0))).mean())
    close(g, by_hand(1, seeds=[0]))


def test_a_generator_inside_what_is_accumulated_has_it():
    g, d = networks()
    both = nn.ModuleDict({"g": g, "d": d})
    attach(g, "l1", weight=WEIGHT, example_input=noise(0))
    accelerator = accelerate.Accelerator(cpu=True)
    both = accelerator.prepare(both)
    with accelerator.accumulate(both):
        accelerator.backward(-d(g(noise(0))).mean())
    close(g, by_hand(1, seeds=[0]))


def test_detaching_gives_accelerate_back_what_it_was():
    before = accelerate.Accelerator.backward, accelerate.Accelerator.accumulate
    attachment = attach(copy.deepcopy(networks()[0]), "l1", weight=WEIGHT, example_input=noise(0))
    assert accelerate.Accelerator.backward is not before[0]
    attachment.detach()
    assert (accelerate.Accelerator.backward, accelerate.Accelerator.accumulate) == before


def test_a_trainer_that_divides_by_itself_is_told_what_to_say(caplog):
    """As that of transformers, which hands a divided loss to an Accelerator of one step."""
    g, d = networks()
    attach(g, "l1", weight=WEIGHT, example_input=noise(0))
    accelerator = accelerate.Accelerator(cpu=True)
    optimizer = torch.optim.SGD(g.parameters(), 0.0)
    for seed in (0, 1):
        accelerator.backward(-d(g(noise(seed))).mean() / 2)
    optimizer.step()
    assert "tell their number by accumulation=2" in caplog.text

"""Steps of training that no optimizer of torch takes: fastai's, somebody's own, one that trains copies of the weights."""

import copy

import pytest
import torch
from generators import noise
from scheduled import LINEAR, QUICK, attached, average, dense, kept, train

import sparse_plugin
from sparse_plugin.errors import AttachmentError, PenaltyError
from sparse_plugin.measurements.log import FILE, read


class Own:
    """No class of torch's, and steps by `.data`, past the version counters."""

    def __init__(self, parameters, lr=1e-2):
        self.parameters, self.lr = list(parameters), lr

    def zero_grad(self):
        for p in self.parameters:
            p.grad = None

    def step(self):
        for p in self.parameters:
            if p.grad is not None:
                p.data -= self.lr * p.grad


class Master(Own):
    """Trains copies with an optimizer of torch's, as mixed precision by hand does."""

    def __init__(self, parameters):
        super().__init__(parameters)
        self.copies = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.SGD(self.copies, 1e-2)

    def step(self):
        for twin, p in zip(self.copies, self.parameters, strict=True):
            twin.grad = p.grad
        self.optimizer.step()
        for twin, p in zip(self.copies, self.parameters, strict=True):
            p.data.copy_(twin)


def kept_over(generator, optimizer, steps):
    seen = []
    train(generator, steps, optimizer, then=lambda: seen.append(kept(generator)))
    return seen


@pytest.mark.parametrize("kind", [Own, Master])
def test_a_schedule_goes_on(kind):
    generator, _ = attached()
    assert kept_over(generator, kind(generator.parameters()), 4) == [6, 4, 2, 2]


def test_auto_and_the_log(tmp_path):
    generator, _ = attached(k=QUICK, run_dir=tmp_path, measure_every=2)
    train(generator, 7, Own(generator.parameters()))
    generator(noise())
    assert [line["step"] for line in read(tmp_path / FILE)] == [1, 2, 4, 6]
    assert kept(generator) == 2  # dense by nature, so the default


def test_a_second_forward_and_accumulated_gradients_are_no_steps():
    generator, _ = attached()
    optimizer = Own(generator.parameters())
    for _ in range(3):
        (generator(noise()) - generator(noise())).square().mean().backward()
        generator(noise()).square().mean().backward()
    optimizer.step()
    assert kept(generator) == 6


def test_weights_that_change_without_a_backward_pass_are_no_step():
    """As where an average is put in place to draw samples, and taken out again, or initial weights are set late."""
    generator, _ = attached()
    train(generator, 1, Own(generator.parameters()))
    for _ in range(3):
        with torch.no_grad():
            generator.out.weight.mul_(1.1)
        assert kept(generator) == 6
        generator(noise())


@pytest.mark.parametrize("built", [copy.deepcopy, lambda generator: attached()[0]])
def test_an_average_follows(built):
    generator, _ = attached()
    ema = built(generator)
    train(generator, 2, Own(generator.parameters()), then=lambda: (kept(generator), average(ema, generator), ema(noise())))
    assert kept(ema) == kept(generator) == 4


def test_a_resumed_run_is_the_same_to_the_bit():
    def draw(generator):
        torch.manual_seed(5)
        return train(generator, 2, Own(generator.parameters()))

    through, _ = attached()
    draw(through)
    saved = copy.deepcopy(through.state_dict())  # with nothing between the step and this
    draw(through)
    resumed, _ = attached(kind=lambda: dense(seed=3))
    resumed.load_state_dict(saved)
    draw(resumed)
    assert all(map(torch.equal, through.state_dict().values(), resumed.state_dict().values()))


def test_an_optimizer_of_torch_tells_for_itself():
    """The weights are looked at until it has taken a step, and not after."""
    generator, handle = attached()
    (hook,) = (hook for hook in generator.out._forward_pre_hooks.values() if hasattr(hook, "site"))
    assert hook.state.untold is not None
    train(generator)
    assert hook.state.untold is None
    assert int(handle.inserted()[0].training_step.step) == 1


def test_a_penalty_that_nobody_adds_is_refused():
    generator = dense()
    sparse_plugin.attach(generator, "l1", weight=1.0, delivery="loss", example_input=noise())
    with pytest.raises(PenaltyError, match="took a step without its penalty"):
        train(generator, 2, Own(generator.parameters()))


def test_dictionaries():
    """That are trained are so, and those that are left out are refused."""
    generator = dense()
    parameters = list(generator.parameters())
    handle = sparse_plugin.attach(generator, "ml_csc", k=4, example_input=noise())
    train(generator, 3, Own([*parameters, *handle.parameters()]))
    with pytest.raises(AttachmentError, match="inserted .* was not"):
        other = dense()
        parameters = list(other.parameters())
        sparse_plugin.attach(other, "ml_csc", k=4, example_input=noise())
        train(other, 4, Own(parameters))


@pytest.mark.parametrize("own", [True, False])
def test_a_penalty_is_weighed_the_same(own):
    """Its gradient is added whoever takes the step, and k of a schedule is that of the step."""
    generator = dense()
    sparse_plugin.attach(generator, "l1", weight={"start": 0.0, "end": 3.0, "steps": 3}, example_input=noise())
    plain = dense()
    torch.manual_seed(1)
    batch = [noise() for _ in range(4)]
    optimizer = Own(generator.parameters(), 1e-3) if own else torch.optim.SGD(generator.parameters(), 1e-3)
    gammas = []
    plain.out.register_forward_pre_hook(lambda module, args: gammas.append(args[0]))
    by_hand = torch.optim.SGD(plain.parameters(), 1e-3)
    for weight, z in enumerate(batch):
        optimizer.zero_grad()
        generator(z).square().mean().backward()
        optimizer.step()
        by_hand.zero_grad()
        (plain(z).square().mean() + min(weight, 3) * gammas[-1].abs().mean()).backward()
        by_hand.step()
    for one, other in zip(generator.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", [Own, torch.optim.SGD])
def test_weights_that_thaw_are_no_step(kind):
    """As where an encoder is trained through a frozen generator: no penalty was left out, and each step counts once."""
    for name, more in (("l0_inf", {}), ("l1", {"weight": 0.1, "delivery": "loss"})):
        generator = dense()
        attachment = sparse_plugin.attach(generator, name, example_input=noise(), **(more or {"k": LINEAR}))
        optimizer, code, seen = kind(generator.parameters(), lr=1e-3), noise().requires_grad_(), []
        for _ in range(4):
            generator.requires_grad_(False)
            generator(code).square().mean().backward()
            generator.requires_grad_(True)
            optimizer.zero_grad()
            loss = generator(noise()).square().mean()
            (loss + attachment.penalty() if more else loss).backward()
            optimizer.step()
            seen.append(kept(generator))
        assert more or seen == [6, 4, 2, 2]

"""Γ that goes into the image past D1 too: an adapter around D1 is a part of the dictionary, everything else is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import SiteError
from sparse_plugin.network import detection, readers

K = 2


def noise(n=4):
    return torch.randn(n, 8, 1, 1, generator=torch.Generator().manual_seed(0))


class Body(nn.Module):
    """Features of 16 channels, and what makes an image of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.ConvTranspose2d(8, 16, 4), nn.ReLU(), nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.ReLU())
        self.a, self.b = nn.Conv2d(16, 3, 3, padding=1), nn.Conv2d(16, 3, 1)
        self.gate, self.scale = nn.Conv2d(16, 1, 3, padding=1), nn.Linear(16, 3)

    def forward(self, z):
        return self.image(self.body(z))


class Gated(Body):
    def image(self, x):
        return torch.tanh(self.a(x)) * torch.sigmoid(self.gate(x))


class Scaled(Body):
    """Of whose modules one alone could make the image."""

    def __init__(self):
        super().__init__()
        del self.b, self.gate

    def image(self, x):
        return torch.tanh(self.a(x)) * torch.sigmoid(self.scale(x.mean((2, 3))))[:, :, None, None]


class Added(Body):
    def image(self, x):
        return torch.tanh(self.a(x)) + x.mean(1, keepdim=True)


class Halves(Body):
    """Γ is one half of a tensor; the other half, which the same node of the graph made, is no Γ."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(8, 3, 3, padding=1)

    def image(self, x):
        one, other = x.chunk(2, 1)
        return torch.tanh(self.a(one)) + other.mean(1, keepdim=True)


class Earlier(Body):
    """An image of lower resolution, made of what Γ was made of, is added: as in a skip generator."""

    def __init__(self):
        super().__init__()
        self.low = nn.Conv2d(16, 3, 1)

    def forward(self, z):
        first = self.body[:2](z)
        return self.a(self.body[2:](first)) + F.interpolate(self.low(first), scale_factor=2)


class Summed(nn.Module):
    """A convolution with an adapter of low rank beside it, as LoRA puts one there: b is 0 at first."""

    def __init__(self, base, act=None, zero=True):
        super().__init__()
        self.base_layer, self.act = base, act or nn.Identity()
        self.down, self.up = nn.Conv2d(16, 2, 3, padding=1, bias=False), nn.Conv2d(2, 3, 1, bias=False)
        if zero:
            nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base_layer(x) + 0.5 * self.up(self.act(self.down(F.dropout(x, 0.5, self.training))))


def adapted(**given):
    torch.manual_seed(0)
    layers = [nn.ConvTranspose2d(8, 16, 4), nn.ReLU(), nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, Summed(nn.Conv2d(16, 3, 3, padding=1), **given), nn.Tanh())


def needles(generator, *modules):
    """The largest number of non-zeros in a needle of what each of modules consumes in a forward."""
    seen = []
    handles = [m.register_forward_hook(lambda m, args, out: seen.append(int((args[0] != 0).sum(1).max()))) for m in modules]
    generator(noise())
    for handle in handles:
        handle.remove()
    return seen


def train(generator, steps=2):
    optimizer = torch.optim.Adam(generator.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        generator(noise()).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("cls", [Gated, Added, Scaled])
def test_what_goes_past_d1_is_refused_and_may_be_meant(cls):
    with pytest.raises(SiteError, match="of a, what it consumes goes into the image by another way too"):
        sparse_plugin.attach(cls(), "l0_inf", k=K, example_input=noise())
    generator = cls()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites=["a"], example_input=noise())
    assert needles(generator, generator.a) == [K]
    # At the output of what makes Γ, everybody reads what is projected.
    generator = cls()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites=["body:output"], example_input=noise())
    assert needles(generator, generator.a) == [K]


@pytest.mark.parametrize("name, settings", [("l0_inf", {"k": K}), ("l1", {"weight": 1.0})])
def test_a_forward_with_a_graph_refuses_it_where_no_example_did(name, settings):
    generator = Scaled()
    sparse_plugin.attach(generator, name, **settings)
    with pytest.raises(SiteError, match=r'from the input of a by another way too, past that module.*say it by sites=\["a"\]'):
        generator(noise())


def test_a_generator_that_begins_to_read_it_past_d1_is_stopped():
    generator = Scaled()
    generator.image = lambda x: torch.tanh(generator.a(x))
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise())
    generator(noise())
    del generator.image
    with pytest.raises(SiteError, match="past that module"):
        generator(noise())


@pytest.mark.parametrize("cls", [Halves, Earlier])
@pytest.mark.parametrize("example", [True, False])
def test_what_is_no_reader_of_gamma_is_let_pass(cls, example):
    generator = cls()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, **({"example_input": noise()} if example else {}))
    assert needles(generator, generator.a) == [K] and [site.path for site in attachment.sites] == ["a"]
    train(generator)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("example", [True, False])
def test_an_adapter_and_its_convolution_are_one_dictionary(zero, example):
    generator = adapted(zero=zero)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, **({"example_input": noise()} if example else {}))
    summed = generator[4].eval()
    for _ in range(2):
        assert needles(generator, summed.base_layer, summed.down) == [K, K]
        train(generator)
    assert summed.up.weight.abs().max() > 0 and [site.path for site in attachment.sites] == ["4"]
    twin = copy.deepcopy(generator)
    assert needles(twin, twin[4].base_layer, twin[4].down) == [K, K]
    assert "all of which is one dictionary" in detection.trace(adapted(), noise()).table()


def test_an_adapter_that_is_not_linear_is_no_dictionary():
    with pytest.raises(SiteError, match="2 convolutions make the image together"):
        sparse_plugin.attach(adapted(act=nn.ReLU(), zero=False), "l0_inf", k=K, example_input=noise())


def test_an_adapter_that_is_put_around_d1_later_stops_the_run_until_it_is_attached_again():
    generator = adapted()
    summed, generator[4] = generator[4], generator[4].base_layer
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise())
    train(generator)
    generator[4] = summed
    with pytest.raises(SiteError, match=r"4.base_layer of Sequential was put into another module, and all of 4 is its dictionary now.*attach again"):
        train(generator)
    attachment.detach()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise())
    assert needles(generator, summed.base_layer, summed.down) == [K, K]


@pytest.mark.parametrize(
    "linear, make",
    [
        (True, lambda x: F.conv2d(x, torch.ones(3, 4, 3, 3)) + 1),
        (True, lambda x: F.dropout(x, 0.5).flatten(1) - x.mean()),
        (True, lambda x: F.interpolate(x, scale_factor=2, mode="bilinear").to(torch.float64)),
        (False, lambda x: F.relu(x)),
        (False, lambda x: x * x.mean()),
        (False, lambda x: x / (1 + x.abs())),
    ],
)
def test_linear_is_what_has_one_slope_everywhere(linear, make):
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    assert readers.is_linear(make(x), x) is linear
    assert not readers.is_linear(torch.ones(2, requires_grad=True) * 2, x)

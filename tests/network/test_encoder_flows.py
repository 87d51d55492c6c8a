"""Scales where the image goes by ways of its own: nested stages, written slices, masks, frames. What consumers take is looked at by them."""

import copy

import pytest
import torch
from encoder_decoders import InPlace, Pooled, block, image
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import SiteError
from sparse_plugin.network.encoders import detect
from sparse_plugin.projections.sizes import resolve_k


class Watched(nn.Module):
    """A U-Net of three scales that notes what its consumers take, as see(level, tensor)."""

    scales = ("one", "two", "three")

    def __init__(self, wrap=lambda c: nn.Identity(), channels=3):
        super().__init__()
        self.one, self.two, self.three = (
            nn.Sequential(block(i, o), wrap(o)) for i, o in ((channels, 6), (6, 8), (8, 10))
        )
        self.up_two, self.up_one = nn.Sequential(block(18, 8), wrap(8)), nn.Sequential(block(14, 6), wrap(6))
        self.out, self.seen = nn.Conv2d(6, channels, 1), []

    def see(self, level, x):
        self.seen.append((level, x.detach().clone()))
        return x

    def shrink(self, x):
        return F.max_pool2d(x, 2)

    def enlarge(self, x):
        return F.interpolate(x, scale_factor=2.0)

    def forward(self, x):
        self.seen = []
        one = self.one(x)
        two = self.two(self.shrink(self.see(1, one)))
        x = self.see(3, self.three(self.shrink(self.see(2, two))))
        x = self.up_two(torch.cat([self.enlarge(x), self.see(2, two)], 1))
        return self.out(self.up_one(torch.cat([self.enlarge(x), self.see(1, one)], 1)))


class Stage(nn.Module):
    """As a stage of U²-Net: an encoder-decoder that hands on what it took, at its size."""

    def __init__(self, c):
        super().__init__()
        self.a, self.b, self.c = block(c, 4), block(4, 4), block(8, c)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2, ceil_mode=True))
        return self.c(torch.cat([F.interpolate(b, size=a.shape[2:]), a], 1)) + x


class Gate(nn.Module):
    """Self-calibration: a gate of the image that is computed at a coarser scale."""

    def __init__(self, c):
        super().__init__()
        self.inner, self.outer = nn.Conv2d(c, c, 3, 1, 1), nn.Conv2d(c, c, 3, 1, 1)

    def forward(self, x):
        return self.outer(x) * torch.sigmoid(
            x + F.interpolate(self.inner(F.avg_pool2d(x, 2)), size=x.shape[2:])
        )


class Pooling(nn.Module):
    """CBAM's gate of the channels: pooled, and spread over the image again by an expansion."""

    def __init__(self, c):
        super().__init__()
        self.gate = nn.Sequential(nn.Flatten(), nn.Linear(c, c))

    def forward(self, x):
        gate = self.gate(F.avg_pool2d(x, x.shape[2:]))
        return x * torch.sigmoid(gate).unsqueeze(2).unsqueeze(3).expand_as(x)


class Wavelet(Watched):
    """Scales are made of slices, and images are written into slices of zeros, as by a Haar transform and its inverse."""

    def __init__(self):
        super().__init__()
        self.two, self.three = block(24, 8), block(32, 32)
        self.up_two, self.up_one = block(8, 24), block(6, 6)

    def shrink(self, x):
        a, b, c, d = (x[:, :, i::2, j::2] / 2 for i in (0, 1) for j in (0, 1))
        return torch.cat([a + b + c + d, b - a + d - c, c - a + d - b, a - b - c + d], 1)

    def enlarge(self, x):
        n, c, h, w = x.shape
        y = torch.zeros(n, c // 4, 2 * h, 2 * w)
        for k in range(4):
            y[:, :, k // 2 :: 2, k % 2 :: 2] = x[:, k::4] / 2
        return y

    def forward(self, x):
        self.seen = []
        one = self.one(x)
        two = self.two(self.shrink(self.see(1, one)))
        x = self.see(3, self.three(self.shrink(self.see(2, two))))
        x = self.up_two(self.enlarge(x) + self.see(2, two))
        return self.out(self.up_one(self.enlarge(x) + self.see(1, one)))


class Masked(Watched):
    """Partial convolutions: each layer returns an image and a mask of its shape."""

    scales = ("one.act", "two.act")

    class Layer(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            self.conv, self.act = nn.Conv2d(i, o, 3, stride, 1), nn.ReLU()

        def forward(self, x, mask):
            y = self.conv(x * mask)
            return self.act(y), torch.ones_like(y).masked_fill_(y == 0, 0.0)

    def __init__(self):
        super().__init__()
        self.one, self.two, self.up, self.last = (
            self.Layer(*s) for s in ((3, 6, 2), (6, 8, 2), (14, 6, 1), (9, 3, 1))
        )

    def forward(self, x):
        self.seen = []
        given = torch.ones_like(x)
        one, mask_one = self.one(x, given)
        two, mask_two = self.two(self.see(1, one), mask_one)
        y, mask = self.up(
            torch.cat([self.enlarge(self.see(2, two)), self.see(1, one)], 1),
            torch.cat([self.enlarge(mask_two), mask_one], 1),
        )
        return self.last(torch.cat([self.enlarge(y), x], 1), torch.cat([self.enlarge(mask), given], 1))


class Supervised(Watched):
    """As UNet++ in training: the first of its images is made of the finer scales alone."""

    def __init__(self):
        super().__init__()
        self.side, self.early = block(14, 6), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        image = super().forward(x)
        one, two = next(g for level, g in self.seen if level == 1), next(g for level, g in self.seen if level == 2)
        return [self.early(self.side(torch.cat([one, self.enlarge(two)], 1))), image]

    def see(self, level, x):
        self.seen.append((level, x))
        return x


class Frames(Watched):
    """Frames are folded into the batch."""

    def forward(self, x):
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2]) + x


class Complex(Watched):
    """Real and imaginary parts become channels, as of a reconstruction of MRI."""

    def __init__(self):
        super().__init__(channels=2)

    def forward(self, x):
        y = x.permute(0, 4, 1, 2, 3).flatten(1, 2)
        mean = y.mean((2, 3), keepdim=True)
        return (super().forward(y - mean) + mean).unflatten(1, (2, -1)).permute(0, 2, 3, 4, 1)


CASES = [
    *((lambda wrap=wrap: Watched(wrap), image()) for wrap in (Stage, Gate, Pooling)),
    *((Wavelet, image()), (Masked, image()), (Supervised, image()), (Frames, torch.randn(1, 2, 3, 16, 16))),
    (Complex, torch.randn(2, 1, 16, 16, 2)),
]


@pytest.mark.parametrize(("build", "x"), CASES, ids=["stage", "gate", "pooling", "wavelet", "masked", "supervised", "frames", "complex"])
def test_what_consumers_take_is_projected(build, x):
    torch.manual_seed(0)
    network = build()
    with sparse_plugin.attach(network, "l0", k=0.1, adapter="encoder_scales", example_input=x) as attachment:
        assert tuple(site.path for site in attachment.sites) == network.scales
        for each in (network, network.eval(), copy.deepcopy(network)):
            each(x)
            for level, _ in enumerate(network.scales, 1):
                taken = [gamma for seen, gamma in each.seen if seen == level]
                assert taken and all(torch.equal(gamma, taken[0]) for gamma in taken)
                assert 0 < int((taken[0] != 0).flatten(1).sum(1).max()) <= resolve_k(0.1, taken[0][0].numel())


class Fixed(nn.Module):
    """Keeps its noise, as some untrained priors do, and takes nothing."""

    def __init__(self):
        super().__init__()
        self.noise, self.net = image(), Pooled()

    def forward(self):
        return self.net(self.noise)


def test_a_network_that_takes_nothing_says_what_to_attach_to():
    network = Fixed()
    with pytest.raises(SiteError, match=r"Fixed takes no image.*attach to the module in it that does, name .*sites="):
        sparse_plugin.attach(network, "l0", k=0.1, adapter="encoder_scales", example_input=())
    attachment = sparse_plugin.attach(network.net, "l0", k=0.1, adapter="encoder_scales", example_input=network.noise)
    assert [site.path for site in attachment.sites] == list(Pooled.scales)


class InARow(nn.Module):
    """A second encoder-decoder refines what the first one made."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Pooled(), Pooled()

    def forward(self, x):
        return self.second(x + self.first(x))


def test_several_in_a_row_are_refused_and_each_may_be_attached():
    network, x = InARow(), image()
    with pytest.raises(SiteError, match="InARow enlarges .* one after another; attach to each of them"):
        detect(network, x)
    for part in (network.first, network.second):
        sparse_plugin.attach(part, "l0_inf", k=1, adapter="encoder_scales", example_input=x)
    taken = []
    for part in (network.first, network.second):
        for path in Pooled.scales:
            part.get_submodule(path).register_forward_hook(lambda module, args, gamma: taken.append(gamma))
    network(x)
    assert len(taken) == 6 and all(int((gamma != 0).sum(1).max()) == 1 for gamma in taken)


@pytest.mark.parametrize("delivery", ["gradient", "loss"])
def test_a_penalty_of_what_is_changed_in_place(delivery):
    """pix2pix's levels begin with an activation in place, which autograd forbids on the view that carries a penalty."""
    torch.manual_seed(0)
    network, x = InPlace().eval(), image()
    truth = copy.deepcopy(network)
    attachment = sparse_plugin.attach(
        network, "l1", weight=0.5, adapter="encoder_scales", delivery=delivery, example_input=x
    )
    out = network(x)
    (out.square().mean() + (attachment.penalty() if delivery == "loss" else 0)).backward()
    terms = []
    for path in network.scales:
        truth.get_submodule(path).register_forward_hook(lambda m, a, gamma: terms.append(gamma.abs().mean()) or gamma.clone())
    (truth(x).square().mean() + 0.5 * sum(terms)).backward()
    theirs = dict(truth.named_parameters())
    assert len(terms) == 2
    assert all(torch.allclose(p.grad, theirs[name].grad, atol=1e-6) for name, p in network.named_parameters())


def test_a_sparse_tensor_has_no_views():
    """A graph's Laplacian, say: what is written into it is written into nothing else."""

    class Mixed(Watched):
        def forward(self, x):
            mix = torch.eye(x.shape[-1]).to_sparse() * x.mean()
            mix.mul_(0.0)
            return super().forward(x + 0 * torch.sparse.mm(mix, x[0, 0].T).T)

    torch.manual_seed(0)
    assert [str(scale).partition(":")[0] for scale in detect(Mixed(), image())] == [str(s).partition(":")[0] for s in detect(Watched(), image())]

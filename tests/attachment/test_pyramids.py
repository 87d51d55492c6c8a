"""Generators that return their image at several resolutions, each made by a convolution of its own (AttnGAN, StackGAN++, MSG-GAN)."""

import copy

import pytest
import torch
from generators import fullest, noise
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin import Attachment

K = 2


class Pyramid(nn.Module):
    """Images of 4, 8 and 16 pixels; `returns` tells in what they are handed out."""

    def __init__(self, returns=list):
        super().__init__()
        self.first = nn.Linear(6, 8 * 16)
        self.grow = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(8, 3, 3, padding=1) for _ in range(3))
        self.returns = returns

    def forward(self, z, images=3):
        h = torch.relu(self.first(z)).view(-1, 8, 4, 4)
        made = [torch.tanh(self.heads[0](h))]
        for grow, head in zip(self.grow, list(self.heads)[1:], strict=True):
            h = torch.relu(grow(F.interpolate(h, scale_factor=2)))
            made.append(torch.tanh(head(h)))
        return self.returns(made[-images:])


RETURNS = {
    "list": list,
    "tuple": tuple,
    "largest first": lambda made: made[::-1],
    "dict": lambda made: {str(len(image[0, 0])): image for image in made},
    "beside other things": lambda made: (made, [torch.rand(2, 5, 4, 4)], torch.rand(2, 4)),
    "beside one that was shrunk": lambda made: [*made, F.avg_pool2d(made[-1], 8)],
}


def paths(attachment):
    return sorted(site.path for site in attachment.sites)


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("returns", RETURNS)
def test_each_resolution_has_its_site(returns, example):
    generator = Pyramid(RETURNS[returns])
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise() if example else None)
    for twin in (generator, copy.deepcopy(generator).requires_grad_(False)):
        for training in (True, False):
            twin.train(training)
            for head in twin.heads:
                assert fullest(head, lambda twin=twin: twin(noise())) == K
    assert paths(attachment) == ["heads.0", "heads.1", "heads.2"]


def test_one_that_is_returned_in_training_alone_is_met_there():
    generator = Pyramid()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=(noise(), {"images": 1}))
    assert paths(attachment) == ["heads.2"]
    for head in generator.heads:
        assert fullest(head, lambda: generator(noise(), images=3)) == K
    generator(noise(), images=1)
    assert paths(attachment) == ["heads.0", "heads.1", "heads.2"]


def test_a_penalty_counts_each():
    generator = Pyramid()
    attachment = sparse_plugin.attach(generator, "l1", weight=1.0, delivery="loss", example_input=noise())
    gammas = []
    for head in generator.heads:
        head.register_forward_pre_hook(lambda module, args: gammas.append(args[0].abs().mean()))
    generator(noise())
    torch.testing.assert_close(attachment.penalty(), sum(gammas))


def test_ml_csc_and_the_file_of_its_weights():
    generator, other = Pyramid(), Pyramid()
    for each in (generator, other):
        sparse_plugin.attach(each, "ml_csc", k=K, example_input=noise())
    for parameter in Attachment.of(generator).parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(generator.state_dict())
    assert len(list(Attachment.of(other).parameters())) == 3
    for mine, theirs in zip(generator(noise()), other(noise()), strict=True):
        assert torch.equal(mine, theirs)
    for head in other.heads:
        assert fullest(head, lambda: other(noise())) == K


def test_compiled():
    generator = Pyramid()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise())
    compiled = torch.compile(generator, backend="eager")
    for mine, theirs in zip(generator(noise()), compiled(noise()), strict=True):
        torch.testing.assert_close(mine, theirs)


class Coded(nn.Module):
    """An autoencoder with three channels of code, as many as the image has, which it returns beside it."""

    def __init__(self, returns):
        super().__init__()
        self.encoder, self.mean, self.spread = (nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 1))
        self.decoder, self.out = nn.ConvTranspose2d(3, 8, 4, 4), nn.Conv2d(8, 3, 3, padding=1)
        self.returns = returns

    def forward(self, x):
        h = torch.relu(self.encoder(x))
        mean, spread = self.mean(h), self.spread(h)
        return self.returns(self.out(torch.relu(self.decoder(mean))), mean, spread)


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("parts", [2, 3], ids=["code", "mean and variance"])
def test_a_code_is_no_image(parts, example):
    x = torch.rand(2, 3, 16, 16)
    generator = Coded(lambda *made: made[:parts])
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x if example else None)
    for training in (True, False):
        generator.train(training)
        assert fullest(generator.out, lambda: generator(x)) == K
        assert fullest(generator.mean, lambda: generator(x)) > K
    assert paths(attachment) == ["out"]


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_an_image_that_is_enlarged_and_added_to_is_a_step(example):
    """As in StyleGAN2, whose coarser images stay as they are: returned beside the last or not."""

    class Skips(Pyramid):
        def forward(self, z):
            small, middle, large = (torch.atanh(0.99 * image) for image in super().forward(z))
            middle = middle + F.interpolate(small, scale_factor=2)
            return [large + F.interpolate(middle, scale_factor=2), middle, small]

    generator = Skips()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise() if example else None)
    for _ in range(2):
        assert fullest(generator.heads[2], lambda: generator(noise())) == K
    assert paths(attachment) == ["heads.2"]


def test_what_returns_a_record_that_holds_itself():
    """Or words that hold their class, as members of an Enum do."""
    from enum import Enum

    class Kind(Enum):
        IMAGE = 1

    class Record:
        def __init__(self, image):
            self.image, self.me, self.kind, self.of = image, self, Kind.IMAGE, [Kind, self]

    generator = Pyramid(lambda made: Record(made[-1]))
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
    assert fullest(generator.heads[2], lambda: generator(noise())) == K
    assert paths(attachment) == ["heads.2"]

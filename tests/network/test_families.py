"""Families of generators beyond the table: in parts, latents, blocks of pixels, implicit networks; published classes where there are."""

import copy
import pickle

import pytest
import torch
from generators import Rearranged, Shuffled, Wavelets, fullest, image, noise
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import SiteError

K = 2


class Decoder(nn.Module):
    """Its first variable is bound again before a convolution runs, and one of its convolutions makes a picture that is not its own."""

    def __init__(self):
        super().__init__()
        self.up, self.side, self.out = nn.ConvTranspose2d(4, 8, 4, 2, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, code):
        code = code.flatten(2).permute(0, 2, 1).contiguous()
        code = code.permute(0, 2, 1).reshape(len(code), 4, 8, 8)
        h = torch.relu(self.up(code))
        self.preview = self.side(h)
        return torch.tanh(self.out(h))


class Wrapped(nn.Sequential):
    """A convolution in a module of its own, as in monai."""

    def __init__(self, *size):
        super().__init__(nn.Conv2d(*size))


class Autoencoder(nn.Module):
    """Used by its parts: the code has as many channels as `code` says, fewer than four maybe, as pictures have."""

    def __init__(self, code=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1))
        self.quant, self.post, self.decoder = Wrapped(4, code, 1), Wrapped(code, 4, 1), Decoder()

    def encode(self, image, *, scale=1.0):
        return self.quant(self.encoder(image)) * scale

    def decode(self, code, *, as_dict=False):
        code = code * 1.0
        image = self.decoder(self.post(code))
        return {"sample": image} if as_dict else image

    def forward(self, image):
        return self.decode(self.encode(image))

WAYS = {
    "whole": lambda g: g(image()),
    "forward": lambda g: g.forward(image()),
    "methods": lambda g: g.decode(g.encode(image())),
    "keywords": lambda g: g.decode(code=g.encode(image=image(), scale=2.0), as_dict=True),
    "a part": lambda g: g.decoder(torch.rand(2, 4, 8, 8)),
    "decode alone": lambda g: g.decode(torch.rand(2, g.post[0].in_channels, 8, 8)),
}


@pytest.mark.parametrize("code", [4, 3, 2])
@pytest.mark.parametrize("how", WAYS)
def test_the_first_call_of_any_part_that_makes_the_image_tells_d1(how, code):
    generator = Autoencoder(code)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
    assert not attachment.sites
    for _ in range(2):
        assert fullest(generator.decoder.out, lambda: WAYS[how](generator)) == K
    assert [site.path for site in attachment.sites] == ["decoder.out"]


@pytest.mark.parametrize("code", [4, 3])
def test_an_encoder_alone_decides_nothing(code):
    generator = Autoencoder(code)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
    for _ in range(2):
        generator.encode(image())
    assert not attachment.sites and fullest(generator.decoder.out, lambda: WAYS["methods"](generator)) == K


@pytest.mark.parametrize("code", [4, 3, 2])
def test_an_encoder_alone_is_no_fault_where_the_site_is_known(code):
    generator = Autoencoder(code)
    del generator.decoder.side
    generator.decoder.side = nn.Identity()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites="decoder.out")
    generator.encode(image())
    assert fullest(generator.decoder.out, lambda: generator.decode(torch.rand(2, code, 8, 8))) == K


def test_nothing_of_the_call_that_tells_is_computed_twice():
    """Nor is the random state, or a gradient, another one."""
    generator = Autoencoder()
    generator.decoder.register_buffer("calls", torch.zeros(()))
    forward = generator.decoder.forward

    def counting(code):
        generator.decoder.calls += 1
        return forward(code) + torch.randn(()) * 0

    generator.decoder.forward = counting
    sparse_plugin.attach(generator, "l0_inf", k=K)
    torch.manual_seed(5)
    generator.decode(torch.rand(2, 4, 8, 8)).mean().backward()
    after = torch.rand(())
    assert generator.decoder.calls == 1
    torch.manual_seed(5)
    torch.rand(2, 4, 8, 8), torch.randn(())
    assert torch.equal(torch.rand(()), after)


def test_a_forward_that_makes_a_smaller_image_than_it_is_given_makes_an_image():
    class Shrinks(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.side, self.out = nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 3, 1), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x):
            h = torch.relu(self.down(x))
            self.preview = self.side(h)
            return self.out(h)

    generator = Shrinks()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for _ in range(2):
        assert fullest(generator.out, lambda: generator.forward(image())) == K


def test_a_step_of_training_is_not_taken_twice():
    class Trains(Autoencoder):
        steps = 0

        def training_step(self, batch):
            self.steps += 1
            return (self.decoder(self.encoder(batch)) - batch).square().mean()

    generator = Trains()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    assert fullest(generator.decoder.out, lambda: generator.training_step(image()).backward()) == K
    assert generator.steps == 1


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))], ids=["copy", "pickle"])
def test_a_twin_that_waits_is_told_by_its_own_call(twin):
    generator = Autoencoder()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    made = twin(generator)
    assert fullest(made.decoder.out, lambda: made(image())) == K
    with pytest.raises(SiteError, match="ran before the generator was called"):
        twin(generator).decode(torch.rand(2, 4, 8, 8))  # which nobody can tell from its original's


def test_a_convolution_that_is_called_alone_is_refused():
    generator = Autoencoder()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match="ran before the generator was called"):
        generator.decoder.up(torch.rand(2, 4, 8, 8))

# Blocks of pixels.


@pytest.mark.parametrize("kind", [Shuffled, Wavelets, Rearranged])
@pytest.mark.parametrize("example", [True, False])
def test_blocks_of_pixels_are_regularized_where_they_are_made(kind, example):
    generator = kind()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise() if example else None)
    assert fullest(generator.head, lambda: generator(noise())) == K
    assert [site.path for site in attachment.sites] == ["head"]
    assert attachment.measure(noise())[0].needle_density.shape == (4, 4)


def test_a_coefficient_paints_the_shuffled_atom():
    """D1 and the shuffle are one transposed convolution with the stride of the blocks."""
    generator = Shuffled()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise())
    atoms = F.pixel_shuffle(attachment.kernel().atoms, 2)  # (C, 3, 6, 6)
    gamma = torch.zeros(1, 8, 4, 4)
    gamma[0, 5, 1, 2] = 1.0
    with torch.no_grad():
        painted = F.pixel_shuffle(F.conv2d(gamma, generator.head.weight, padding=1), 2)
    expected = F.conv_transpose2d(gamma, atoms, stride=2, padding=2)
    torch.testing.assert_close(painted, expected)


def test_a_head_that_grows_into_blocks_is_followed_or_refused():
    class Grows(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.out = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
            self.late = None

        def forward(self, z):
            h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))
            return self.out(h) if self.late is None else F.pixel_shuffle(self.late(h), 2)

    generator = Grows()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise())
    generator.late = nn.Conv2d(8, 12, 3, padding=1)
    with pytest.raises(SiteError, match="made an image without going through"):
        generator(noise())

# Implicit networks.


class Siren(nn.Module):
    """Coordinates in, colours out, by linear layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 16), nn.Linear(16, 16), nn.Linear(16, 3)])

    def forward(self, at):
        for layer in self.layers[:-1]:
            at = torch.sin(30 * layer(at))
        return self.layers[-1](at)


class Pointwise(nn.Module):
    """The same by convolutions of one pixel, as in CIPS."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 16, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 3, 1))

    def forward(self, at):
        return self.layers(at)


def test_implicit_networks_are_refused():
    with pytest.raises(SiteError, match="linear layers alone, implicit networks among them, are not synthesized from atoms"):
        sparse_plugin.attach(Siren(), "l0_inf", k=K)
    at = torch.rand(1, 2, 8, 8)
    for call in (lambda g: sparse_plugin.attach(g, "l0_inf", k=K, example_input=at), lambda g: sparse_plugin.attach(g, "l0_inf", k=K) and g(at)):
        with pytest.raises(SiteError, match="Pointwise is: it makes every pixel by itself, as an implicit network does"):
            call(Pointwise())
    generator = Pointwise()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites="layers.2")  # named all the same
    assert fullest(generator.layers[2], lambda: generator(at)) == K


class Transformer(nn.Module):
    """As TransGAN: attention over the positions, and a convolution of one pixel for each to be painted by."""

    def __init__(self):
        super().__init__()
        self.first, self.keys = nn.Linear(6, 16 * 32), nn.Linear(32, 64)
        self.to_image = nn.Sequential(nn.Conv2d(8, 3, 1))

    def forward(self, z):
        tokens = self.first(z).view(-1, 16, 32)
        query, key = self.keys(tokens).chunk(2, -1)
        tokens = tokens + (query @ key.transpose(1, 2)).softmax(-1) @ tokens
        return self.to_image(F.pixel_shuffle(tokens.permute(0, 2, 1).reshape(-1, 32, 4, 4), 2))


class DeepDecoder(nn.Sequential):
    """Convolutions of one pixel, with enlargements between them."""

    def __init__(self):
        up = nn.Upsample(scale_factor=2, mode="bilinear")
        super().__init__(nn.Conv2d(6, 8, 1), up, nn.ReLU(), nn.Conv2d(8, 8, 1), up, nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Sigmoid())

    def forward(self, z):
        return super().forward(z[:, :, None, None].expand(-1, -1, 4, 4))


@pytest.mark.parametrize(("kind", "path"), [(Transformer, "to_image.0"), (DeepDecoder, "6")])
@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_what_mixes_positions_otherwise_is_not_implicit(kind, path, example):
    generator = kind()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise() if example else None)
    assert fullest(generator.get_submodule(path), lambda: generator(noise())) == K
    assert [site.path for site in attachment.sites] == [path]


def test_a_decoder_without_a_convolution():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Conv2d(3, 4, 16), nn.Linear(4, 3 * 16 * 16)

        def forward(self, x):
            return self.decoder(self.encoder(x).flatten(1)).view(-1, 3, 16, 16)

    with pytest.raises(SiteError, match="its input|computed from its output|gives the image"):
        sparse_plugin.attach(Flat(), "l0_inf", k=K, example_input=image())

# Published classes.


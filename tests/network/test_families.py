"""Families of generators beyond the table: in parts, latents, blocks of pixels, implicit networks; published classes where there are."""

import contextlib
import copy
import importlib
import pickle
import sys
import types

import pytest
import torch
from generators import Rearranged, Shuffled, Wavelets, noise
from host_roots import is_real, root
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin import Attachment
from sparse_plugin.errors import SiteError

K = 2


def fullest(module, run):
    """The most non-zeros of a needle that module is given, in every call of it."""
    seen = []
    handle = module.register_forward_hook(lambda m, args, out: seen.append(int((args[0] != 0).sum(1).max())))
    with handle:
        run()
    assert seen
    return max(seen)


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


def image():
    return torch.rand(2, 3, 16, 16)


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
    for example in (torch.rand(1, 2, 8, 8), None):
        with pytest.raises(SiteError, match="Pointwise makes every pixel by itself, as an implicit network does"):
            sparse_plugin.attach(Pointwise(), "l0_inf", k=K, example_input=example)
    generator = Pointwise()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites="layers.2")  # named all the same
    assert fullest(generator.layers[2], lambda: generator(torch.rand(1, 2, 8, 8))) == K


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


def monai(name):
    nets = pytest.importorskip("monai.networks.nets")
    if name == "VQVAE":
        steps = {"downsample_parameters": ((2, 4, 1, 1),) * 2, "upsample_parameters": ((2, 4, 1, 1, 0),) * 2}
        return nets.VQVAE(2, 1, 1, channels=(8, 8), num_res_layers=1, num_res_channels=8, num_embeddings=8, embedding_dim=4, **steps)
    return nets.AutoencoderKL(2, 1, 1, channels=(8, 8), num_res_blocks=1, attention_levels=(False, False), latent_channels=3, norm_num_groups=4)


MONAI = [
    ("VQVAE", lambda g, x: g.decode(g.quantize(g.encode(x))[0]), "decoder.blocks.4.conv"),
    ("VQVAE", lambda g, x: g.decode_samples(g.index_quantize(x)), "decoder.blocks.4.conv"),
    ("AutoencoderKL", lambda g, x: g.decode(g.encode(x)[0]), "decoder.blocks.8.conv"),
    ("AutoencoderKL", lambda g, x: g.decode_stage_2_outputs(g.encode_stage_2_inputs(x)), "decoder.blocks.8.conv"),
]


@pytest.mark.parametrize(("name", "run", "path"), MONAI, ids=range(len(MONAI)))
def test_autoencoders_of_monai_by_their_methods(name, run, path):
    generator = monai(name)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
    assert fullest(generator.get_submodule(path), lambda: run(generator, torch.rand(2, 1, 16, 16))) == K
    assert [site.path for site in attachment.sites] == [path]


@pytest.mark.parametrize("name", ["l0", "l0_inf", "l1"])
def test_a_latent_of_vector_quantize_pytorch(name):
    quantize = pytest.importorskip("vector_quantize_pytorch")

    class VQ(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
            self.vq = quantize.VectorQuantize(8, codebook_size=16, accept_image_fmap=True)
            self.decoder = nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))

        def forward(self, x):
            code, _, loss = self.vq(self.encoder(x))
            return self.decoder(code), loss

    generator = VQ()
    settings = {"l0": {"k": 0.25}, "l0_inf": {"k": K}, "l1": {"weight": 1.0}}[name]
    attachment = sparse_plugin.attach(generator, name, sites="encoder:output", **settings)
    codes = []
    handle = generator.vq.register_forward_hook(lambda m, args, out: codes.append(args[0].detach()))
    made, loss = generator(image())
    (made.mean() + loss).backward()
    handle.remove()
    (measured,) = attachment.measure(image())
    assert measured.needle_density.shape == (8, 8)
    if name == "l1":
        assert measured.penalty > 0
    else:
        assert float((codes[0] != 0).float().mean()) <= 0.25


@pytest.mark.parametrize(("model", "site"), [("VQModel", "quant_conv:output"), ("AutoencoderKL", "post_quant_conv")])
def test_a_latent_of_diffusers(model, site):
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    generator = getattr(diffusers, model)(block_out_channels=[8, 8], norm_num_groups=4, latent_channels=4, **blocks)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=1, sites=site)
    generator(image())
    (measured,) = attachment.measure(image())
    assert len(measured.atom_usage) == 4 and measured.sparsity <= 25


# Real checkouts.


@contextlib.contextmanager
def checkout(name, monkeypatch):
    if not is_real(name):
        pytest.skip(f"no checkout of {name} under $SPARSE_PLUGIN_HOSTS")
    version = types.SimpleNamespace(parse_version=lambda text: tuple(int(n) for n in text.split("+")[0].split(".")[:2]))
    monkeypatch.syspath_prepend(str(root(name)))
    monkeypatch.setitem(sys.modules, "pkg_resources", version)
    yield
    for key, module in list(sys.modules.items()):
        if str(root(name)) in str(getattr(module, "__file__", None)):
            del sys.modules[key]


NVIDIA = {"z_dim": 16, "c_dim": 0, "w_dim": 16, "img_resolution": 32, "img_channels": 3, "channel_base": 512, "channel_max": 16}
LABELS = torch.zeros(2, 0)
REAL = [
    ("NVlabs+stylegan3", "training.networks_stylegan3", NVIDIA, lambda s: s, "synthesis.L14_32_3"),
    ("NVlabs+stylegan3", "training.networks_stylegan2", NVIDIA | {"num_fp16_res": 0}, lambda s: s, "synthesis.b32.torgb"),
    ("autonomousvision+projected-gan", "pg_modules.networks_stylegan2", NVIDIA | {"num_fp16_res": 0}, lambda s: s, "synthesis.b32.torgb"),
    ("autonomousvision+projected-gan", "pg_modules.networks_fastgan", {"z_dim": 16, "ngf": 8, "img_resolution": 256},
     lambda s: lambda w: s(w, LABELS), "synthesis.to_big"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "module", "settings", "synthesis", "path"), REAL, ids=[f"{case[0]}-{case[1]}" for case in REAL])
@pytest.mark.parametrize("parts", [False, True])
def test_style_gans_whole_and_in_parts(name, module, settings, synthesis, path, parts, monkeypatch):
    with checkout(name, monkeypatch):
        generator = importlib.import_module(module).Generator(**settings)
        attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
        z = torch.randn(2, 16)
        for _ in range(2):
            synthesis(generator.synthesis)(generator.mapping(z, LABELS)) if parts else generator(z, LABELS)
        assert [site.path for site in attachment.sites] == [path]


def test_r3gan_whose_convolutions_are_never_called(monkeypatch):
    with checkout("brownvc+R3GAN", monkeypatch):
        sizes = {"WidthPerStage": [16] * 3, "CardinalityPerStage": [4] * 3, "BlocksPerStage": [1] * 3, "ExpansionFactor": 2}
        kind = importlib.import_module("training.networks").Generator
        generator = kind(NoiseDimension=16, FP16Stages=[], c_dim=0, img_resolution=16, **sizes)
        attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=(torch.randn(2, 16), None))
        assert [site.path for site in attachment.sites] == ["Model.AggregationLayer"]


def test_a_weight_that_is_used_past_its_module_is_told_at_the_first_step(caplog):
    class Past(nn.Module):
        """As R3GAN: the module of its last convolution is never called."""

        def __init__(self):
            super().__init__()
            self.inner = nn.Module()
            self.inner.up, self.inner.out = nn.ConvTranspose2d(6, 8, 4), nn.Conv2d(8, 3, 3)

        def make(self, z):
            h = torch.relu(F.conv_transpose2d(z[:, :, None, None], self.inner.up.weight))
            return F.conv2d(h, self.inner.out.weight, padding=1)

    generator = Past()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    optimizer = torch.optim.SGD(generator.parameters(), 0.1)
    generator.make(noise()).mean().backward()
    optimizer.step()
    assert "took a step of its optimizer and never ran the input of inner.out" in caplog.text
    assert Attachment.of(generator) is not None


def test_swagan_whose_head_makes_the_bands_of_wavelets(monkeypatch):
    with checkout("rosinality+stylegan2-pytorch", monkeypatch):
        monkeypatch.setattr("torch.utils.cpp_extension.load", lambda *args, **how: types.SimpleNamespace())
        generator = importlib.import_module("swagan").Generator(32, 16, 2, channel_multiplier=1)
        attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
        generator([torch.randn(2, 16)])
        assert [site.path for site in attachment.sites] == ["to_rgbs.1.conv"]

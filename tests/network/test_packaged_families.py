"""Families of generators in the packages and codebases that people train."""

import contextlib
import importlib
import sys
import types

import pytest
import torch
from generators import fullest, image, noise
from host_roots import is_real, root
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin import Attachment

K = 2


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


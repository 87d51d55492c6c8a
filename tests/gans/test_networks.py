"""The reference networks: parameters counted against the official ones, shapes, heads, recipes."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin.errors import ConfigError
from sparse_plugin.gans import architectures, blocks, recipe
from sparse_plugin.gans.blocks import Layers, scaled
from sparse_plugin.gans.gan import build

ALL = [(arch, 32) for arch in architectures()]
ALL += [(arch, size) for arch in ("dcgan", "sngan", "sagan", "biggan") for size in (64, 128)]


def made(arch, size=32, width=1.0, classes=10):
    return build(recipe(arch, size), width, classes)


def count(module):
    return sum(p.numel() for p in module.parameters())


def inputs(arch, size=32, n=2, classes=10):
    r = recipe(arch, size)
    torch.manual_seed(0)
    return torch.randn(n, r.z), torch.randint(classes, (n,)) if r.conditional else None


# (architecture, size, classes): parameters of G and D, counted on the official code unless said otherwise.
OFFICIAL = {
    # HelenMao/MSGAN DCGAN-Mode-Seeking/networks.py, opts.class_num=0 and 10
    ("dcgan", 32, 0): (3_449_475, 2_638_209),
    ("cgan", 32, 10): (3_531_395, 2_658_689),
    ("msgan", 32, 10): (3_531_395, 2_658_689),
    # pytorch/examples dcgan/main.py
    ("dcgan", 64, 0): (3_576_704, 2_765_568),
    # kwotsin/mimicry SNGANGenerator32 .. 128, SNGANDiscriminator32 .. 128
    ("sngan", 32, 0): (4_276_739, 1_053_825),
    ("sngan", 64, 0): (12_220_675, 10_141_441),
    ("sngan", 128, 0): (32_150_787, 29_017_857),
    # kwotsin/mimicry SAGANGenerator32, SAGANDiscriminator32; SAGANGenerator128, SAGANDiscriminator128(ndf=1024)
    ("sagan", 32, 10): (4_386_308, 1_075_586),
    ("sagan", 128, 1000): (42_078_852, 30_062_338),
    # ajbrock/BigGAN-PyTorch BigGAN.py: scripts/launch_cifar_ema.sh; launch_BigGAN_bs256x8.sh, for 64 with attention at 32
    ("biggan", 32, 10): (4_304_387, 4_207_361),
    ("biggan", 64, 1000): (70_377_348, 45_511_970),
    ("biggan", 128, 1000): (70_433_988, 87_982_370),
    # mit-han-lab/data-efficient-gans: the same networks
    ("diffcrbiggan", 32, 10): (4_304_387, 4_207_361),
}


@pytest.mark.parametrize("case", OFFICIAL, ids=str)
def test_parameters_are_the_official_ones(case, monkeypatch):
    # Without values: spectral normalisation has buffers only, and an orthogonal matrix of this size takes seconds.
    monkeypatch.setattr(blocks, "spectral_norm", lambda layer, eps: layer)
    monkeypatch.setattr(nn.init, "orthogonal_", lambda weight: None)
    arch, size, classes = case
    with torch.device("meta"):
        networks = made(arch, size, classes=classes)
    assert (count(networks.generator), count(networks.discriminator)) == OFFICIAL[case]


def conv(inputs, outputs, kernel=3):
    return inputs * outputs * kernel**2 + outputs


def test_parameters_of_wgan_gp_are_those_of_its_script():
    """igul222/improved_wgan_training gan_cifar.py, from the shapes that it gives its operations; TensorFlow 1 cannot run."""
    dim, norm = 128, 2
    generator = 128 * 16 * 4 * dim + 16 * 4 * dim + norm * 16 * 4 * dim  # Generator.Input, BN1 of each of its outputs
    generator += conv(4 * dim, 2 * dim, 5) + norm * 2 * dim + conv(2 * dim, dim, 5) + norm * dim + conv(dim, 3, 5)
    critic = conv(3, dim, 5) + conv(dim, 2 * dim, 5) + conv(2 * dim, 4 * dim, 5) + 16 * 4 * dim + 1
    networks = made("wgan_gp")
    assert (count(networks.generator), count(networks.discriminator)) == (generator, critic)


def test_parameters_of_ssgan_are_those_of_its_script():
    """tntrung/msgan modules/net_resnet.py, *_resnet_cifar with dim=128, from the shapes that it gives its operations."""
    g, d, norm = 256, 128, 2
    block = 2 * norm * g + 2 * conv(g, g) + conv(g, g, 1)
    generator = 128 * 16 * g + 16 * g + 3 * block + norm * g + conv(g, 3)
    encoder = conv(3, g) + 3 * block + norm * g + 16 * g * 128 + 128
    first = conv(3, d) + conv(d, d) + conv(d, d, 1) + conv(3, 3, 1) + conv(3, d, 1)
    halving = 2 * conv(d, d) + 3 * conv(d, d, 1)
    discriminator = first + halving + 2 * 2 * conv(d, d) + d + 1 + 64 * d * 5 + 5
    networks = made("ssgan")
    assert count(networks.generator) == generator == 4_276_739
    assert count(networks.discriminator) == discriminator
    assert count(networks.encoder) == encoder


@pytest.mark.parametrize(("arch", "size"), ALL)
def test_shapes_and_ranges(arch, size):
    r = recipe(arch, size)
    networks = made(arch, size, 1 / 16)
    z, labels = inputs(arch, size)
    images = networks.generator(z, labels)
    assert images.shape == (2, 3, size, size)
    assert r.low <= images.min() and images.max() <= 1 and (images.min() < 0) == (r.low == -1)
    if arch == "vae":
        return
    judged = networks.discriminator(images, labels)
    if arch == "ssgan":
        assert [tuple(t.shape) for t in judged] == [(2,), (2, 64 * 8), (2, 5)]
        assert networks.encoder(images).shape == z.shape
    else:
        assert judged.shape == (2,)


@pytest.mark.parametrize(("arch", "size"), ALL)
def test_a_regularizer_finds_the_synthesis_of_each(arch, size):
    generator = made(arch, size, 1 / 16).generator
    attachment = sparse_plugin.attach(generator, "l0_inf", k=2, example_input=inputs(arch, size))
    assert [site.path for site in attachment.sites] == ["synthesis"]
    measured = attachment.measure(*inputs(arch, size))
    assert measured[0].sparsity_before > 30 and measured[0].sparsity < 26


def test_the_head_of_dcgan_is_that_of_the_papers_appendix():
    generator = made("dcgan").generator
    attachment = sparse_plugin.attach(generator, "ml_csc", k=16, example_input=inputs("dcgan"))
    head = generator.synthesis
    assert isinstance(head, nn.ConvTranspose2d) and attachment.sites[0].path == "synthesis"
    assert (head.in_channels, head.out_channels) == (128, 3)
    assert (head.kernel_size, head.stride, head.padding) == ((4, 4), (2, 2), (1, 1))
    assert sparse_plugin.atoms(generator).shape == (128, 3, 4, 4)
    assert sparse_plugin.effective_atoms(generator).shape == (128, 3, 8, 8)
    assert attachment.measure(*inputs("dcgan"))[0].needle_density.shape == (16, 16)


@pytest.mark.parametrize(
    ("arch", "side"), [("wgan_gp", 16), ("sngan", 32), ("sagan", 32), ("ssgan", 32), ("biggan", 32)]
)
def test_the_representations_of_the_others(arch, side):
    channels = {"wgan_gp": 128}.get(arch, 256)
    seen = []
    generator = made(arch).generator
    generator.synthesis.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    with torch.no_grad():
        generator(*inputs(arch))
    assert seen == [(2, channels, side, side)]


def test_width_multiplies_channels_to_multiples_of_8():
    assert [scaled(256, w) for w in (1, 0.5, 0.25, 0.3, 1 / 64)] == [256, 128, 64, 80, 8]
    assert made("dcgan", width=0.5).generator.synthesis.in_channels == 64
    assert made("biggan", 128, 1 / 96).generator.synthesis.in_channels == 8


def test_attention_starts_as_nothing_and_halves_keys():
    from sparse_plugin.gans.blocks import Attention

    torch.manual_seed(0)
    attention, x = Attention(16, Layers()), torch.randn(2, 16, 4, 4)
    assert torch.equal(attention(x), x)
    with torch.no_grad():
        attention.gain.fill_(0.5)
    flat = x.flatten(2)
    query, key, value, output = (
        getattr(attention, name).weight.detach()[:, :, 0, 0] for name in ("query", "key", "value", "output")
    )
    keys = nn.functional.max_pool2d((key @ flat).view(2, 2, 4, 4), 2).flatten(2)
    values = nn.functional.max_pool2d((value @ flat).view(2, 8, 4, 4), 2).flatten(2)
    expected = torch.empty_like(flat)
    for n in range(2):
        for position in range(16):
            scores = torch.tensor([(query @ flat[n])[:, position] @ keys[n, :, j] for j in range(4)])
            weights = scores.exp() / scores.exp().sum()
            expected[n, :, position] = flat[n, :, position] + 0.5 * output @ (values[n] @ weights)
    assert torch.allclose(attention(x).flatten(2), expected, atol=1e-5)


def test_official_numbers_of_the_recipes():
    """Of the sources that each recipe names: batch, steps, learning rates, betas, updates of D to one of G."""
    table = {
        "dcgan": (64, 156_200, 2e-4, 2e-4, (0.5, 0.999), 1),
        "cgan": (32, 312_400, 2e-4, 2e-4, (0.5, 0.999), 1),
        "msgan": (32, 312_400, 2e-4, 2e-4, (0.5, 0.999), 1),
        "wgan_gp": (64, 200_000, 1e-4, 1e-4, (0.5, 0.9), 5),
        "sngan": (64, 100_000, 2e-4, 2e-4, (0.0, 0.9), 5),
        "sagan": (64, 100_000, 2e-4, 2e-4, (0.5, 0.999), 5),
        "ssgan": (64, 300_000, 2e-4, 2e-4, (0.0, 0.9), 1),
        "biggan": (50, 125_000, 2e-4, 2e-4, (0.0, 0.999), 4),
        "diffcrbiggan": (50, 250_000, 2e-4, 2e-4, (0.0, 0.999), 4),
    }
    assert set(table) | {"vae"} == set(architectures())
    for arch, row in table.items():
        r = recipe(arch)
        assert (r.batch, r.steps, r.lr_generator, r.lr_discriminator, r.betas, r.discriminator_steps) == row, arch
        assert "/" in r.source


def test_limited_data_has_recipes_of_its_own():
    assert [recipe("biggan", fraction=f).steps for f in (0.2, 0.1)] == [250_000, 125_000]
    limited, whole = recipe("diffcrbiggan", fraction=0.2), recipe("diffcrbiggan")
    assert (limited.augment, limited.consistency_augment) == (("translation", "cutout"), ())
    assert (whole.augment, whole.consistency_augment) == (("cutout",), ("flip", "translation"))
    assert recipe("biggan", fraction=0.2).flips and not recipe("biggan").flips
    assert recipe("dcgan", fraction=0.2) == recipe("dcgan")


def test_schedules():
    linear, late, constant = recipe("sngan"), recipe("ssgan"), recipe("dcgan")
    assert [linear.rate(s, 100) for s in (0, 50, 99)] == pytest.approx([1, 0.5, 0.01])
    assert [late.rate(s, 100) for s in (0, 50, 75)] == pytest.approx([0.5, 0.5, 0.25])
    assert constant.rate(99, 100) == 1


@pytest.mark.parametrize(
    ("arch", "size", "said"),
    [
        ("bigan", 32, "there is no architecture 'bigan'; there are biggan, .*Did you mean 'biggan'"),
        ("wgan-gp", 32, "Did you mean 'wgan_gp'"),
        (
            "msgan",
            64,
            "msgan is there for 32 pixels, and 64 were asked for; dcgan, sngan, sagan, biggan are there for 64",
        ),
        ("dcgan", 48, "dcgan is there for 32 and 64 and 128 pixels, and 48 were asked for; sizes are 32, 64 and 128"),
    ],
)
def test_what_there_is_not(arch, size, said):
    with pytest.raises(ConfigError, match=said):
        recipe(arch, size)


def test_the_recipes_can_be_listed_without_torch():
    code = "import sys, sparse_plugin.gans as r; assert 'torch' not in sys.modules; print(*r.architectures())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(architectures())

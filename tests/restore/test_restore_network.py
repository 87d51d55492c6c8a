"""The network of Deep Image Prior: the official one's function, in fewer operations; what it refuses."""

import copy
import importlib
import sys

import pytest
import torch
from host_roots import driven, root
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.network import SkipNetwork, from_official
from sparse_plugin.restore.upsampled import convolve_upsampled, normalise_upsampled

DIP = "DmitryUlyanov+deep-image-prior"
WIDE = [128] * 5
LIBRARY = [16, 32, 64, 128, 128, 128]
# Input channels, sides, the official options, ours; the settings of its denoising, inpainting and super-resolution notebooks.
OFFICIAL = {
    "denoising": (32, (64, 96), {"num_channels_skip": [4] * 5, "upsample_mode": "bilinear"}, {}),
    "snail": (
        3,
        (64, 64),
        {
            "num_channels_down": [8, 16, 32, 64, 128],
            "num_channels_up": [8, 16, 32, 64, 128],
            "num_channels_skip": [0, 0, 0, 4, 4],
            "upsample_mode": "bilinear",
        },
        {"down": [8, 16, 32, 64, 128], "skip": [0, 0, 0, 4, 4]},
    ),
    "vase": (2, (64, 64), {"num_channels_skip": [0] * 5}, {"skip": 0, "upsample": "nearest"}),
    "kate": (32, (64, 64), {"num_channels_skip": WIDE}, {"skip": 128, "upsample": "nearest"}),
    "library": (
        1,
        (192, 192),
        {
            "num_channels_down": LIBRARY,
            "num_channels_up": LIBRARY,
            "num_channels_skip": [0] * 6,
            "filter_size_down": 5,
            "need1x1_up": False,
        },
        {"down": LIBRARY, "skip": 0, "down_kernel": 5, "upsample": "nearest", "one_by_one": False},
    ),
    "shallow": (
        8,
        (96, 64),
        {
            "num_channels_down": [16, 8],
            "num_channels_up": [8, 16],
            "num_channels_skip": [4, 0],
            "upsample_mode": "bilinear",
        },
        {"down": [16, 8], "up": [8, 16], "skip": [4, 0]},
    ),
    "zeros": (
        4,
        (64, 32),
        {
            "num_channels_down": [8, 16],
            "num_channels_up": [16, 8],
            "num_channels_skip": [4, 2],
            "filter_skip_size": 3,
            "filter_size_up": 5,
            "pad": "zero",
            "upsample_mode": "bilinear",
        },
        {"down": [8, 16], "up": [16, 8], "skip": [4, 2], "skip_kernel": 3, "up_kernel": 5, "padding": "zeros"},
    ),
}


@pytest.fixture(scope="module")
def official():
    """The function `skip` of the host, imported under its own name; no other host's `models` is in this process."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "models"}
    add = getattr(nn.Module, "add", None)
    sys.path.insert(0, str(root(DIP)))
    try:
        yield importlib.import_module("models.skip").skip
    finally:
        sys.path.remove(str(root(DIP)))
        for name in [name for name in sys.modules if name.partition(".")[0] == "models"]:
            del sys.modules[name]
        sys.modules.update(kept)
        if add is None and hasattr(nn.Module, "add"):
            del nn.Module.add  # set by models.common, for every module of the process


def both(official, case, dtype):
    """The official network, ours with its weights, an input and an image."""
    channels, sides, theirs, ours = OFFICIAL[case]
    torch.manual_seed(0)
    there = {"num_channels_down": WIDE, "num_channels_up": WIDE, "upsample_mode": "nearest", "pad": "reflection"}
    reference = official(channels, 3, **(there | theirs)).to(dtype)
    network = SkipNetwork(channels, 3, **ours).to(dtype)
    network.load_state_dict(from_official(reference.state_dict()))
    return reference, network, torch.rand(1, channels, *sides, dtype=dtype) * 0.1, torch.rand(1, 3, *sides, dtype=dtype)


def gradients(network, z, image, convert=dict):
    network.zero_grad()
    made = network(z)
    F.mse_loss(made, image).backward()
    return made.detach(), convert({name: p.grad for name, p in network.named_parameters()})


@pytest.mark.parametrize("case", OFFICIAL)
def test_it_is_the_official_function(official, case):
    """Image, and gradients of all weights, where rounding is no matter."""
    driven.add(DIP)
    reference, network, z, image = both(official, case, torch.float64)
    expected, wanted = gradients(reference, z, image, from_official)
    made, found = gradients(network, z, image)
    assert made.shape == (1, 3, *z.shape[2:]) and made.min() > 0 and made.max() < 1
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-10)
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-7, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_it_rounds_as_the_official_network_does(official):
    """In float32 both are as far from the exact image and gradients."""
    driven.add(DIP)
    errors = []
    reference, network, z, image = both(official, "denoising", torch.float32)
    exact, wanted = gradients(copy.deepcopy(reference).double(), z.double(), image.double(), from_official)
    for net, convert in ((reference, from_official), (network, dict)):
        made, found = gradients(net, z, image, convert)
        errors.append(
            (
                (made - exact).abs().max().item(),
                sum((found[name] - wanted[name]).square().sum().item() for name in wanted) ** 0.5,
            )
        )
    (of_image, of_gradient), (image_error, gradient_error) = errors
    assert image_error < max(1e-5, 4 * of_image) and gradient_error < max(1e-5, 4 * of_gradient)


@pytest.mark.parametrize("case", ["shallow", "zeros"])
def test_shallow_networks_agree_in_float32(official, case):
    driven.add(DIP)
    reference, network, z, image = both(official, case, torch.float32)
    expected, wanted = gradients(reference, z, image, from_official)
    made, found = gradients(network, z, image)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


def test_another_state_is_refused():
    with pytest.raises(ConfigError, match=r"the state has no .*; give the state_dict of a network that `skip`"):
        from_official(nn.Conv2d(3, 3, 3).state_dict())


MODES = st.sampled_from(["bilinear", "nearest"])
SIDES = st.integers(2, 7)


@settings(deadline=None, max_examples=40)
@given(
    mode=MODES, height=SIDES, width=SIDES, channels=st.integers(1, 3), batch=st.integers(1, 2), seed=st.integers(0, 99)
)
def test_a_convolution_of_what_is_upsampled(mode, height, width, channels, batch, seed):
    """Border and gradients included."""
    torch.manual_seed(seed)
    x = torch.randn(batch, channels, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, channels, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(F.pad(F.interpolate(x, scale_factor=2, mode=mode), (1, 1, 1, 1), mode="reflect"), weight)
    made = convolve_upsampled(x, weight, mode)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    towards = torch.randn_like(made)
    for one, other in zip(
        torch.autograd.grad(made, (x, weight), towards),
        torch.autograd.grad(expected, (x, weight), towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(mode=MODES, height=SIDES, width=SIDES, batch=st.integers(1, 2), seed=st.integers(0, 99))
def test_a_normalisation_of_what_is_upsampled(mode, height, width, batch, seed):
    torch.manual_seed(seed)
    x = torch.randn(batch, 3, height, width, dtype=torch.float64)
    gain, bias = torch.randn(2, 3, dtype=torch.float64)
    large = F.interpolate(x, scale_factor=2, mode=mode)
    expected = F.batch_norm(large, None, None, gain, bias, training=True, eps=1e-3)
    made = F.interpolate(normalise_upsampled(x, gain, bias, mode, 1e-3), scale_factor=2, mode=mode)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_the_shorter_way_is_the_same(upsample, monkeypatch):
    torch.manual_seed(0)
    network = SkipNetwork(4, 3, down=(8, 8, 8), upsample=upsample).double()
    z, image = torch.rand(2, 4, 64, 96).double(), torch.rand(2, 3, 64, 96).double()
    merged = []
    network.decoders[0].merge.register_forward_hook(lambda *_: merged.append(True))
    made, found = gradients(network, z, image)
    assert not merged
    monkeypatch.setattr("sparse_plugin.restore.network.WORTHWHILE", 1000)
    expected, wanted = gradients(network, z, image)
    assert merged
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)


def test_encoders_return_the_representations():
    """Projected, Γ_k is what the next scale, its skip branch and the decoder see; the gradient passes where it is kept."""
    torch.manual_seed(0)
    network, z = SkipNetwork(4, 3, down=(8, 16, 8), skip=2), torch.rand(1, 4, 64, 64)
    seen = {}
    for name, reader in {
        "next": network.encoders[1][0],
        "beside": network.decoders[1].skip[0],
        "deepest": network.decoders[2],
    }.items():
        reader.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[-1]}))
    plain = network(z)
    sites = [f"encoders.{k}:output" for k in range(3)]
    with sparse_plugin.attach(network, "l0_inf", k=0.25, example_input=z, sites=sites) as attachment:
        assert [m.sparsity for m in attachment.measure(z)] == [25.0] * 3
        assert not torch.equal(network(z), plain)
        network(z).sum().backward()
    assert {name: tuple(gamma.shape) for name, gamma in seen.items()} == {
        "next": (1, 8, 32, 32),
        "beside": (1, 8, 32, 32),
        "deepest": (1, 8, 8, 8),
    }
    assert all((gamma != 0).sum(1).max() == gamma.shape[1] // 4 for gamma in seen.values())
    assert all(p.grad is not None for p in network.parameters())
    torch.testing.assert_close(network(z), plain, rtol=0, atol=0)


def test_training_and_evaluation_are_one():
    network, z = SkipNetwork(4, 3, down=(8, 8), skip=2), torch.rand(1, 4, 64, 64)
    assert torch.equal(network.train()(z), network.eval()(z)) and not list(network.buffers())


def test_under_autocast_compiled_and_copied():
    torch.manual_seed(0)
    network, z = SkipNetwork(4, 3, down=(8, 8), skip=2), torch.rand(1, 4, 64, 64)
    plain = network(z)
    assert torch.equal(copy.deepcopy(network)(z), plain)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = network(z)
    coarse.float().sum().backward()
    torch.testing.assert_close(coarse.float(), plain, rtol=0, atol=0.1)
    compiled = torch.compile(network, backend="aot_eager")(z)
    torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-6)
    compiled.sum().backward()


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({}, 64), ({"down": [8]}, 4), ({"down": [8, 8], "padding": "zeros"}, 8),
        ({"down": [8, 8], "down_kernel": 5}, 12), ({"down": [8, 8], "skip_kernel": 9}, 12),
        ({"down": [8, 8], "up_kernel": 7, "down_kernel": 1}, 8), ({"down": [8, 8], "up_kernel": 9}, 12),
    ],
    ids=str,
)  # fmt: skip
def test_the_smallest_input(options, side):
    network = SkipNetwork(2, 1, **options)
    assert network.reach == side
    network(torch.rand(1, 2, side, side)).sum().backward()
    for sides in ((side - network.multiple, side), (side, side + 1), (side + network.multiple // 2, side)):
        with pytest.raises(ConfigError, match=f"multiples of {network.multiple} and at least {side}, so pad the image"):
            network(torch.rand(1, 2, *sides))


def test_what_is_no_input():
    network = SkipNetwork(2, 1, down=[4])
    for shape in ((2, 8, 8), (1, 3, 8, 8), (8,)):
        with pytest.raises(ConfigError, match=r"takes \[B, 2, H, W\]"):
            network(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"down": []}, "down has 0 scales"), ({"skip": [4]}, "down has 5 scales, up 5 and skip 1"),
        ({"up": (8,)}, "up 1"), ({"down": (8, 0)}, r"down \[8, 0\].*positive numbers"),
        ({"skip": -1}, "0 only for a skip branch"), ({"input_channels": 0}, "channels are 0 -> 3"),
        ({"down_kernel": 2}, "down_kernel is 2; .*odd"), ({"up_kernel": -1}, "up_kernel is -1"),
        ({"upsample": "bicubic"}, "no upsampling 'bicubic'; there are bilinear, nearest"),
        ({"padding": "reflect"}, "Did you mean 'reflection'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_network(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SkipNetwork(**options)

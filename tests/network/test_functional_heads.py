"""Images that no module with a convolution makes: the refusal says what to name, and what is named is what the image is made of."""

import pytest
import torch
from generators import noise
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import SiteError

K = 2


class Generator(nn.Module):
    """paint makes the image of what body returns, by head; what it was given is kept."""

    def __init__(self, head, paint):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.head, self.paint = head, paint

    def forward(self, z):
        self.given = self.body(z[:, :, None, None].expand(-1, -1, 4, 4))
        return torch.tanh(self.paint(self.head, self.given))


def scripted():
    return torch.jit.script(nn.Conv2d(8, 3, 3, padding=1))


# What the head is, and how the image is made of it; what else is refused, and what that says.
HEADS = {
    "F.conv2d": (lambda: nn.Conv2d(8, 3, 3, padding=1), lambda head, h: F.conv2d(h, head.weight, padding=1)),
    "einsum": (lambda: nn.Linear(8, 3), lambda head, h: torch.einsum("nchw,oc->nohw", h, head.weight)),
    "linear": (lambda: nn.Linear(8, 3), lambda head, h: head(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
    "keyword": (lambda: nn.Conv2d(8, 3, 3, padding=1), lambda head, h: head(input=h)),
    "TorchScript": (scripted, lambda head, h: head(h)),
    "fold": (lambda: nn.Conv2d(8, 48, 1), lambda head, h: F.fold(head(h).flatten(2), (10, 10), 4, stride=2)),
}


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("name", HEADS)
def test_the_refusal_names_what_works(name, example):
    head, paint = HEADS[name]

    def attached(**how):
        generator = Generator(head(), paint)
        sparse_plugin.attach(generator, "l0_inf", k=K, example_input=noise() if example else None, **how)
        generator(noise())
        return generator

    with pytest.raises(SiteError, match=r'the module that returns Γ, as in sites=\["path:output"\]'):
        attached()
    generator = attached(sites="body:output")
    for training in (True, False):
        generator.train(training)
        generator(noise())
        assert int((generator.given != 0).sum(1).max()) == K


def test_what_is_no_convolution_is_refused_with_what_works():
    with pytest.raises(SiteError, match=r'is a Linear, not a synthesis convolution.*sites=\["path:output"\]'):
        sparse_plugin.attach(Generator(*(HEADS["linear"][0](), None)), "l0_inf", k=K, sites="head")


class Turned(nn.LayerNorm):
    """Of channels that are second, as in ConvNeXt."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("last", [nn.LayerNorm(8), nn.RMSNorm(8), nn.Linear(8, 8)], ids=["LayerNorm", "RMSNorm", "Linear"])
def test_channels_that_are_last_are_refused(last):
    """A needle would lie along the rows of the image."""
    generator = Generator(nn.ModuleList([last, nn.Linear(8, 3)]), lambda head, h: head[1](head[0](h.permute(0, 2, 3, 1))).permute(0, 3, 1, 2))
    with pytest.raises(SiteError, match=f"site output of head.0 is a {type(last).__name__}, whose channels are the last axis"):
        sparse_plugin.attach(generator, "l0_inf", k=K, sites="head.0:output")


@pytest.mark.parametrize("turned", [Turned(8), nn.LayerNorm([8, 4, 4])], ids=["own forward", "whole"])
def test_a_norm_of_channels_that_are_second_is_a_site(turned):
    generator = Generator(nn.ModuleList([turned, nn.Conv2d(8, 3, 1)]), lambda head, h: head[1](head[0](h)))
    sparse_plugin.attach(generator, "l0_inf", k=K, sites="head.0:output", example_input=noise())

"""Where a discriminator's last feature layer hands its representation on: found, or refused with the reason."""

import discriminators
import generators
import pytest
import torch
from torch import nn

from sparse_plugin.errors import SiteError
from sparse_plugin.gans.gan import architectures, build, recipe
from sparse_plugin.hosts.build import build as imported
from sparse_plugin.network.discriminators import last_features
from sparse_plugin.network.sites import Site

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 3])

FOUND = {
    "Plain": ((X,), ["main.4"]),
    "Patch": ((X,), ["head"]),
    "Pooled": ((X,), ["linear"]),
    "Auxiliary": ((X,), ["pool:output"]),
    "Projected": ((X, Y), ["head"]),
    "Scales": ((X,), ["parts.0.head", "parts.1.head"]),
    "Flat": ((X,), ["model.3"]),
    "UNet": ((X,), ["bottom", "out"]),
}


def sites(*texts):
    return tuple(Site.parse(text) for text in texts)


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found(name):
    inputs, expected = FOUND[name]
    discriminator = getattr(discriminators, name)()
    state = {key: value.clone() for key, value in discriminator.state_dict().items()}
    random = torch.get_rng_state()
    assert last_features(discriminator, *inputs) == sites(*expected)
    assert all(torch.equal(value, state[key]) for key, value in discriminator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in discriminator.modules())


def test_of_a_projection_it_is_what_head_and_embedding_read():
    discriminator = discriminators.Pooled(classes=4)
    assert last_features(discriminator, X, Y) == sites("activation:output")
    assert last_features(discriminator, X) == sites("linear")


def test_frozen_weights_and_keywords():
    discriminator = discriminators.Pooled(classes=4).requires_grad_(False).eval()
    assert last_features(discriminator, X, y=Y) == sites("activation:output")
    with torch.inference_mode():
        assert last_features(discriminator, X) == sites("linear")


REFUSED = {
    "Shared": ((X, Y), "by several ways, as in a projection discriminator"),
    "One": ((X,), "reads the image itself: there is no feature layer before it"),
    "Painter": ((X,), "makes 3x16x16 of 3x16x16, an image"),
    "Reader": ((torch.tensor([[1, 2]]),), "was given no images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_the_reason(name):
    inputs, said = REFUSED[name]
    with pytest.raises(SiteError, match=said) as caught:
        last_features(getattr(discriminators, name)(), *inputs)
    assert "sites=" in str(caught.value) or "leave role out" in str(caught.value)


def test_generators_are_none():
    for generator in (generators.Plain(), generators.Residual(), generators.AttentionLast()):
        with pytest.raises(SiteError, match="an image: a discriminator makes scores of images"):
            last_features(generator, torch.randn(2, 6))


class Twice(nn.Module):
    """Real and generated images through one head, called once for each."""

    def __init__(self):
        super().__init__()
        self.body, self.head = discriminators.body(), nn.Conv2d(16, 1, 4)

    def forward(self, x):
        return self.head(self.body(x)) - self.head(self.body(x.flip(0)))


class Aside(nn.Module):
    """The head reads features, and what a function makes of the image."""

    def __init__(self):
        super().__init__()
        self.body, self.head = discriminators.body(), nn.Conv2d(16, 1, 4)

    def forward(self, x):
        return self.head(self.body(x)).flatten() + x.mean((1, 2, 3))


class Blind(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = discriminators.body(), nn.Conv2d(16, 1, 4)

    def forward(self, x):
        return self.head(self.body(x.detach())).flatten()


@pytest.mark.parametrize(("kind", "said"), [(Twice, "called 2 times in one forward"), (Aside, "by several ways")])
def test_heads_that_tell_nothing(kind, said):
    with pytest.raises(SiteError, match=said):
        last_features(kind(), X)


def test_a_head_of_detached_images_is_one():
    assert last_features(Blind(), X) == sites("head")


@pytest.mark.parametrize("arch", architectures()[:9])
def test_the_gans_of_the_paper(arch):
    of = recipe(arch)
    discriminator = build(of, 1 / 16, 4).discriminator
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 3])
    (site,) = last_features(discriminator, images, *([labels] if of.conditional else []))
    expected = {"wgan_gp": "layers.7", "sngan": "linear", "ssgan": "rectify"}
    projected = {"sagan", "biggan", "diffcrbiggan"}
    assert site.path == expected.get(arch, "pool" if arch in projected else "layers.8")
    assert site.side == ("output" if arch in projected | {"ssgan"} else "input")


THIRD_PARTY = {
    "torch_mimicry.nets.sngan:SNGANDiscriminator32": (["ndf=16"], 32, False, "l5"),
    "torch_mimicry.nets.dcgan:DCGANDiscriminator32": (["ndf=32"], 32, False, "l5"),
    "torch_mimicry.nets.wgan_gp:WGANGPDiscriminator32": (["ndf=16"], 32, False, "l5"),
    "torch_mimicry.nets.ssgan:SSGANDiscriminator32": (["ndf=16"], 32, False, "activation:output"),
    "torch_mimicry.nets.infomax_gan:InfoMaxGANDiscriminator32": (["ndf=16"], 32, False, "linear"),
    "torch_mimicry.nets.cgan_pd:CGANPDDiscriminator32": (["num_classes=4", "ndf=16"], 32, True, "activation:output"),
    "torch_mimicry.nets.sagan:SAGANDiscriminator32": (["num_classes=4", "ndf=32"], 32, True, "activation:output"),
    "torchgan.models:DCGANDiscriminator": (["in_size=32"], 32, False, "disc.0"),
    "taming.modules.discriminator.model:NLayerDiscriminator": (["ndf=8"], 64, False, "main.11"),
}


@pytest.mark.parametrize("spec", THIRD_PARTY)
def test_published_discriminators(spec):
    import importlib.util

    if importlib.util.find_spec(spec.partition(".")[0]) is None:
        pytest.skip(f"{spec.partition('.')[0]} is not installed")
    arguments, side, labelled, path = THIRD_PARTY[spec]
    discriminator = imported(spec, arguments)
    labels = [torch.tensor([0, 3])] if labelled else []
    assert last_features(discriminator, torch.randn(2, 3, side, side), *labels) == sites(path)

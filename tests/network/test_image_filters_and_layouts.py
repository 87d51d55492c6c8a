"""What D1 makes may be filtered as an image, or laid out otherwise, before it is returned; and what is said where there is no D1."""

import logging

import pytest
import torch
from generators import fullest
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import SiteError
from sparse_plugin.network.detection import detect

K = 2


class Made(nn.Module):
    def __init__(self, channels=3, behind=None, then=lambda image: image):
        super().__init__()
        self.body, self.d1 = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, channels, 3, padding=1)
        self.behind, self.then = behind or nn.Identity(), then

    def forward(self, x):
        return self.then(self.behind(torch.tanh(self.d1(torch.relu(self.body(x))))))


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.d1 = nn.ConvTranspose3d(4, 8, 4, 2, 1), nn.ConvTranspose3d(8, 1, 4, 2, 1)

    def forward(self, x):
        return self.d1(torch.relu(self.body(x[:, :, None]))).squeeze(1)


def x(n=2):
    return torch.randn(n, 4, 6, 6)


def frozen(module):
    return module.requires_grad_(False)


FILTERS = {
    "mean": lambda: nn.Conv2d(3, 3, 1),
    "frozen mean": lambda: frozen(nn.Conv2d(3, 3, 1)),
    "blur": lambda: nn.Conv2d(3, 3, 5, padding=2, groups=3, bias=False),
    "frozen blur": lambda: frozen(nn.Conv2d(3, 3, 5, padding=2, groups=3)),
    "both": lambda: nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, 3, 1)),
    "behind padding": lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 3, 3, groups=3)),
}


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("behind", FILTERS)
def test_a_filter_of_the_image_is_no_dictionary(behind, example):
    generator = Made(behind=FILTERS[behind]())
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x() if example else None)
    for _ in range(2):
        assert fullest(generator.d1, lambda: generator(x()).square().mean().backward()) == K
    with torch.no_grad():
        assert fullest(generator.d1, lambda: generator(x())) == K
    assert [site.path for site in attachment.sites] == ["d1"]
    generator.d1 = nn.Conv2d(8, 3, 3, padding=1)  # which is followed, with the filter behind it
    assert fullest(generator.d1, lambda: generator(x()).square().mean().backward()) == K


def test_a_filter_behind_blocks_of_pixels():
    generator = Made(12, nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(3, 3, 1)))
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for _ in range(2):
        assert fullest(generator.d1, lambda: generator(x()).mean().backward()) == K


def test_a_filter_that_is_put_behind_later():
    generator = Made()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x())
    generator.behind = nn.Conv2d(3, 3, 1)
    for _ in range(2):
        assert fullest(generator.d1, lambda: generator(x()).mean().backward()) == K


def test_a_convolution_that_refines_an_image_is_told(caplog):
    generator = Made(behind=nn.Conv2d(3, 3, 3, padding=1))
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x())
    assert "Γ at the input of behind has no more channels than the image" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "sparse_plugin"):
        sparse_plugin.attach(Made(), "l0_inf", k=K, example_input=x())
        sparse_plugin.attach(Made(behind=nn.Conv2d(3, 3, 3, padding=1)), "l0_inf", k=K, sites="behind")
    assert not caplog.text


LAYOUTS = {
    "flat": lambda: Made(then=lambda image: image.flatten(1)),
    "flat beside a code": lambda: Made(then=lambda image: (image.flatten(1), image.mean((2, 3)))),
    "grey": lambda: Made(1, then=lambda image: image.squeeze(1)),
    "a volume": Volumes,
}


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("case", LAYOUTS)
def test_an_image_without_its_axes_is_one(case, example):
    generator = LAYOUTS[case]()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x() if example else None)
    for _ in range(2):
        assert fullest(generator.d1, lambda: generator(x())) == K
    assert [site.path for site in attachment.sites] == ["d1"]


class Attended(nn.Module):
    """Its only convolution to one channel is no D1, and the image is returned flat."""

    def __init__(self):
        super().__init__()
        self.look, self.d1 = nn.Conv2d(4, 1, 3, padding=1), nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.d1(x * torch.sigmoid(self.look(x))), 2).flatten(1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Attended, "no convolution gives the image, 432"),
        (lambda: Made(16, then=lambda h: h.flatten(1)), "no convolution gives the image"),  # features
        (lambda: Made(then=lambda h: h.mean((2, 3))), "it returned no image"),  # scores
    ],
)
def test_what_is_flat_and_no_image_of_a_convolution(make, why):
    with pytest.raises(SiteError, match=why):
        detect(make(), x())


def test_a_wrong_guess_of_a_flat_image_is_found():
    generator = Attended()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match="look makes 1x6x6 and the image is 432"):
        generator(x())


class ByKeyword(Made):
    def forward(self, x):
        return self.d1(input=torch.relu(self.body(x)))


class OwnKernel(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 4, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.kernel)


def test_what_is_said_of_gamma_by_keyword():
    with pytest.raises(SiteError, match="d1 .* it is given its input by keyword"):
        sparse_plugin.attach(ByKeyword(), "l0_inf", k=K, example_input=x())
    generator = ByKeyword()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match="the input of d1 is given by keyword alone"):
        generator(x())


@pytest.mark.parametrize("make", [OwnKernel, lambda: nn.Conv2d(4, 3, 3)])
def test_a_convolution_that_is_the_whole_generator(make):
    with pytest.raises(SiteError, match="a site cannot be the whole generator"):
        sparse_plugin.attach(make(), "l0_inf", k=K)
    with pytest.raises(SiteError, match="the whole generator: its convolution is no module"):
        sparse_plugin.attach(make(), "l0_inf", k=K, example_input=x())
    wrapped = nn.Sequential(make())
    sparse_plugin.attach(wrapped, "l0_inf", k=K)
    assert fullest(wrapped[0], lambda: wrapped(x())) == K


def test_sound_has_no_representation_here():
    generator = nn.Sequential(nn.ConvTranspose1d(4, 8, 8, 4, 2), nn.ReLU(), nn.ConvTranspose1d(8, 1, 8, 4, 2))
    for example in (torch.randn(2, 4, 16), None):
        with pytest.raises(SiteError, match="convolutions over one dimension alone"):
            sparse_plugin.attach(generator, "l0_inf", k=K, example_input=example)


def traced(module, *given):
    return torch.jit.trace(module, given, check_trace=False)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")  # of torch.jit.trace itself
def test_torchscript_is_refused_and_may_stand_before_d1():
    with pytest.raises(SiteError, match="the generator is TorchScript"):
        sparse_plugin.attach(traced(Made(), x()), "l0_inf", k=K)
    generator = Made()
    generator.d1 = traced(generator.d1, torch.randn(2, 8, 6, 6))
    for example in (x(), None):
        with pytest.raises(SiteError, match="inside d1, which is TorchScript, no hook runs"):
            sparse_plugin.attach(generator, "l0_inf", k=K, example_input=example)
            generator(x())
    for example in (x(), None):
        generator = nn.Sequential(traced(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), x()), Made())
        before = {name: value.clone() for name, value in generator.state_dict().items()}
        sparse_plugin.attach(generator, "l0_inf", k=K, example_input=example)
        after = generator.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        for _ in range(2):
            assert fullest(generator[1].d1, lambda generator=generator: generator(x())) == K

"""What D1 really consumes, whatever stands between the site and the convolution, and however forward is called."""

import cProfile
import sys

import pytest
import torch
from generators import Modulated, Padded, Plain, Residual
from torch import nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.errors import SiteError
from sparse_plugin.network.detection import heads

K = 2


class Headed(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.body, self.head = nn.Conv2d(4, 8, 3, padding=1), head

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def x(n=2):
    return torch.randn(n, 4, 6, 6)


class Resized(nn.Conv2d):
    """Enlarges inside its own forward, where no hook sees it."""

    def __init__(self, mode):
        super().__init__(8, 3, 3, padding=1)
        self.mode = mode

    def forward(self, gamma):
        return super().forward(F.interpolate(gamma, scale_factor=2, mode=self.mode))


def consumed(generator, run):
    """The fullest needle that reaches F.conv2d with D1's kernel."""
    seen, real = [], F.conv2d

    def spy(input, weight, *args, **kwargs):
        if weight.shape[0] == 3:
            seen.append(int((input != 0).sum(1).max()))
        return real(input, weight, *args, **kwargs)

    F.conv2d = spy
    try:
        run()
    finally:
        F.conv2d = real
    return max(seen)


CONV = lambda: nn.Conv2d(8, 3, 3, padding=1)  # noqa: E731
# head, path of the site that is found
HEADS = [
    (lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), CONV(), nn.Tanh()), "head.1"),
    (lambda: nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), CONV()), "head.1"),
    (lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic"), nn.ReflectionPad2d(1), CONV()), "head.1"),
    (lambda: nn.Sequential(nn.AvgPool2d(3, 1, 1), CONV()), "head.1"),
    (lambda: nn.Sequential(nn.Upsample(scale_factor=2), CONV()), "head"),
    (lambda: nn.Sequential(nn.UpsamplingNearest2d(scale_factor=2), nn.ReplicationPad2d(1), CONV()), "head"),
    (lambda: nn.Sequential(nn.ReflectionPad2d(1), CONV(), nn.Tanh()), "head"),
    (lambda: nn.Sequential(nn.Dropout(0.2), CONV()), "head"),
    (lambda: nn.Sequential(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear")), CONV()), "head.1"),
]


@pytest.mark.parametrize(("head", "path"), HEADS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_gamma_is_read_where_d1_consumes_it(head, path, example):
    generator = Headed(head())
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x() if example else None)
    assert consumed(generator, lambda: generator(x())) <= K
    assert [site.path for site in attachment.sites] == [path]


@pytest.mark.parametrize("regularizer", ["l0_inf", "l0"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_mixing_inside_d1_is_refused(mode, example, regularizer):
    generator = Headed(Resized(mode))
    with pytest.raises(SiteError, match="hands its convolution from there does not meet it"):
        sparse_plugin.attach(generator, regularizer, k=K, example_input=x() if example else None)
        generator(x())
    plain = Headed(Resized("nearest"))
    sparse_plugin.attach(plain, "l0_inf", k=K, example_input=x() if example else None)
    assert consumed(plain, lambda: plain(x())) <= K


def test_a_site_by_hand_before_a_normalization():
    generator = Headed(nn.Sequential(nn.BatchNorm2d(8), nn.LeakyReLU(), CONV()))
    sparse_plugin.attach(generator, "l0_inf", k=K, sites="head")
    with pytest.raises(SiteError, match="hands its convolution from there does not meet it"):
        generator(x())
    rectified = Headed(nn.Sequential(nn.ReLU(), CONV()))
    sparse_plugin.attach(rectified, "l0_inf", k=K, sites="head")
    assert consumed(rectified, lambda: rectified(x())) <= K


def test_modulated_convolutions_take_their_samples_as_groups():
    class Grouped(nn.Conv2d):
        def forward(self, gamma):
            n, c, h, w = gamma.shape
            weight = self.weight.repeat(n, 1, 1, 1)
            return F.conv2d(gamma.view(1, n * c, h, w), weight, padding=1, groups=n).view(n, -1, h, w)

    generator = Headed(Grouped(8, 3, 3, padding=1))
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x())
    generator(x())
    dense = Headed(
        type("Dense", (Grouped,), {"forward": lambda self, g: Grouped.forward(self, g + 1)})(8, 3, 3, padding=1)
    )
    with pytest.raises(SiteError, match="does not meet it"):
        sparse_plugin.attach(dense, "l0_inf", k=K, example_input=x())


def test_the_look_counts_no_convolution():
    generator = Headed(Resized("nearest"))
    sparse_plugin.attach(generator, "l0_inf", k=K)
    seen, real = [], F.conv2d
    try:
        F.conv2d = lambda input, weight, *a, **k: (_out := real(input, weight, *a, **k), seen.append(weight.shape[0]))[0]
        generator(x())
    finally:
        F.conv2d = real
    assert seen.count(3) == 0 or seen.count(3) == 1  # a class that calls torch's own method is seen once at most


class Attention(nn.Module):
    """A 1-channel attention convolution, and a head that a pixel shuffle lays out."""

    def __init__(self):
        super().__init__()
        self.fc, self.att, self.head = nn.Linear(8, 256), nn.Conv2d(2, 1, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, z):
        h = torch.relu(self.fc(z).view(-1, 16, 4, 4))
        h = h * torch.sigmoid(self.att(torch.cat([h.mean(1, True), h.amax(1, True)], 1)))
        return F.pixel_shuffle(self.head(h), 2)

    def generate(self, z):
        return {"image": self.forward(z)}


class Constant(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, 8, size, size))

    def forward(self, z):
        return self.input.repeat(len(z), 1, 1, 1)


class Learned(nn.Module):
    """Begins at a learned constant, which has the shape of a kernel."""

    def __init__(self):
        super().__init__()
        self.const, self.up, self.head = Constant(), nn.ConvTranspose2d(8, 16, 4, 2, 1), nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, z):
        return F.pixel_shuffle(self.head(torch.relu(self.up(self.const(z)))), 2)


@pytest.mark.parametrize("kind", [Attention, Learned])
@pytest.mark.parametrize("call", ["forward", "__call__"])
def test_what_is_no_head_is_never_taken_for_one(kind, call):
    generator = kind()
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K)
    if kind is Attention:
        with pytest.raises(SiteError):
            getattr(generator, call)(torch.randn(2, 8))
    else:
        getattr(generator, call)(torch.randn(2, 8))
        assert [site.path for site in attachment.sites] == ["head"]


@pytest.mark.parametrize(
    "how", [lambda g, z: g.generate(z), lambda g, z: [g.forward(z) for _ in range(2)]], ids=["method", "twice"]
)
def test_a_guess_is_checked_where_forward_is_called_directly(how):
    generator = Attention()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match="att makes 1x4x4 and the image is 3x8x8"):
        how(generator, torch.randn(2, 8))
    assert sys.getprofile() is None
    for right in (Plain(), Residual(), Padded()):
        sparse_plugin.attach(right, "l0_inf", k=K)
        for _ in range(2):
            right.forward(torch.randn(2, 6))
        assert sys.getprofile() is None


def test_a_direct_forward_that_fails_is_checked_the_next_time():
    class Failing(Attention):
        fail = True

        def forward(self, z):
            image = super().forward(z)
            if self.fail:
                raise RuntimeError("the host's own")
            return image

    generator = Failing()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(RuntimeError, match="the host's own"):
        generator.forward(torch.randn(2, 8))
    assert sys.getprofile() is None
    generator.fail = False
    with pytest.raises(SiteError, match="the image is 3x8x8"):
        generator.forward(torch.randn(2, 8))


def test_under_a_profiler_a_guess_is_refused_rather_than_believed():
    generator = Residual()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    profile = cProfile.Profile()
    profile.enable()
    try:
        generator.forward(torch.randn(2, 6))
        with pytest.raises(SiteError, match="a profiler runs"):
            generator.forward(torch.randn(2, 6))
    finally:
        profile.disable()


def test_a_part_that_is_called_alone_is_checked():
    class Parts(nn.Module):
        def __init__(self, synthesis):
            super().__init__()
            self.mapping, self.synthesis = nn.Linear(8, 8), synthesis

        def decode(self, w):
            return self.synthesis(w)

        def forward(self, z):
            return self.synthesis(self.mapping(z))

    generator = Parts(Attention())
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match="the image is 3x8x8"):
        generator.synthesis(generator.mapping(torch.randn(2, 8)))
    with pytest.raises(SiteError, match="the image is 3x8x8"):
        generator.decode(torch.randn(2, 8))


def test_gamma_has_two_spatial_dimensions():
    generator = Residual()
    sparse_plugin.attach(generator, "l0_inf", k=K, sites="out")
    with pytest.raises(SiteError, match=r"3 axes.*a representation is \(N, C, H, W\)"):
        generator.out(torch.randn(8, 4, 4))


def test_images_with_more_batch_axes():
    """As of an importance-weighted autoencoder: (N, samples, C, H, W) out of a decoder that sees one batch axis."""

    class Weighted(Plain):
        def forward(self, z):
            n, s = z.shape[:2]
            return super().forward(z.flatten(0, 1)).view(n, s, 3, 16, 16)

    class Small(Weighted):
        def forward(self, z):
            n, s = z.shape[:2]
            return self.main(z.flatten(0, 1)[:, :, None, None]).unflatten(0, (n, s))

    generator = Small()
    assert [site.path for site in heads(generator, torch.randn(2, 3, 6))] == ["main.6"]
    for example in (torch.randn(2, 3, 6), None):
        fresh = Small()
        sparse_plugin.attach(fresh, "l0_inf", k=K, example_input=example)
        seen = []
        fresh.main[6].register_forward_hook(lambda m, a, out, seen=seen: seen.append(int((a[0] != 0).sum(1).max())))
        fresh(torch.randn(2, 3, 6))
        assert max(seen) <= K


def test_weights_used_directly_are_found_by_an_example_or_refused():
    class Direct(Residual):
        def forward(self, z):
            h = self.linear(z).view(len(z), -1, 4, 4)
            return F.conv2d(torch.relu(self.c1(h)), self.out.weight, self.out.bias, padding=1)

    generator = Direct()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match="is called 0 times"):
        generator(torch.randn(2, 6))
    with pytest.raises(SiteError, match="its convolution is no module|no convolution gives the image"):
        sparse_plugin.attach(Direct(), "l0_inf", k=K, example_input=torch.randn(2, 6))


class Coupled(nn.Module):
    """Two images, each by a head of its own."""

    def __init__(self, out=tuple):
        super().__init__()
        self.a = nn.Conv2d(4, 8, 3, padding=1)
        self.g1, self.g2 = nn.Sequential(CONV(), nn.Tanh()), nn.Sequential(CONV(), nn.Tanh())
        self.out = out

    def forward(self, x):
        h = torch.relu(self.a(x))
        images = (self.g1(h), self.g2(h))
        return dict(zip("ab", images, strict=True)) if self.out is dict else self.out(images)


@pytest.mark.parametrize("out", [tuple, list, dict])
@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_two_image_heads_are_two_sites(out, example):
    generator = Coupled(out)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=[1, 2], example_input=x() if example else None)
    seen = {}
    for name in ("g1", "g2"):
        getattr(generator, name)[0].register_forward_hook(
            lambda m, a, o, name=name: seen.update({name: int((a[0] != 0).sum(1).max())})
        )
    generator(x())
    assert seen == {"g1": 1, "g2": 2}
    assert [(site.path, site.level) for site in attachment.sites] == [("g1.0", 1), ("g2.0", 1)]
    assert len(attachment.measure(x())) == 2


def test_two_image_heads_with_dictionaries_and_penalties():
    generator = Coupled()
    attachment = sparse_plugin.attach(generator, "ml_csc", k=K, example_input=x())
    assert len(attachment.parameters()) == 2
    penalized = Coupled()
    attachment = sparse_plugin.attach(penalized, "l1", weight=1.0, delivery="loss", example_input=x())
    gammas = []
    for head in (penalized.g1[0], penalized.g2[0]):
        head.register_forward_hook(lambda m, a, out: gammas.append(a[0].detach()))
    images = penalized(x())
    torch.testing.assert_close(attachment.penalty(), sum(gamma.abs().mean() for gamma in gammas))
    del images


def test_what_stands_beside_an_image_and_is_none():
    class Beside(Coupled):
        def forward(self, x):
            image = self.g1(torch.relu(self.a(x)))
            return image, x.repeat(1, 1, 1, 1)[:, :3], [self.g2(torch.relu(self.a(x)))]

    assert [site.path for site in heads(Beside(), x())] == ["g1.0"]
    assert [site.path for site in heads(Modulated(), torch.randn(2, 6))] == ["rgb8"]


def test_a_layer_used_through_its_weight_is_named_by_what_uses_it():
    """As R3GAN does: the convolution's own module is never called."""

    class Uses(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = CONV()

        def forward(self, gamma):
            return F.conv2d(gamma, self.layer.weight, padding=1)

    generator = Headed(nn.Sequential(nn.ReLU(), Uses()))
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(SiteError, match=r'called 0 times.*sites=\["head.1"\], or attach with example_input'):
        generator(x())
    for how in ({"sites": "head.1"}, {"example_input": x()}):
        fresh = Headed(nn.Sequential(nn.ReLU(), Uses()))
        sparse_plugin.attach(fresh, "l0_inf", k=K, **how)
        assert consumed(fresh, lambda fresh=fresh: fresh(x())) <= K

"""Which of several heads makes the image now: faded in from nothing, chosen by a value, computed all and used in part."""

import contextlib
import copy
import enum
import random
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import sparse_plugin
from sparse_plugin.attachment.looks import muted
from sparse_plugin.errors import SiteError

K = 2


class Headed(nn.Module):
    """Several heads on one body; `make` tells how the image comes of them."""

    def __init__(self, make, heads=2, **held):
        super().__init__()
        self.body = nn.Conv2d(4, 8, 3, padding=1)
        self.heads = nn.ModuleList(nn.Conv2d(8, 3, 3, padding=1) for _ in range(heads))
        self.make = make
        for name, value in held.items():
            setattr(self, name, value)

    def features(self, x):
        return torch.relu(self.body(x))

    def forward(self, x, *said):
        return self.make(self, self.features(x), *said)


def x(n=2):
    return torch.randn(n, 4, 4, 4)


def consumed(call, *convolutions):
    """The fullest needle that reaches F.conv2d with one of these convolutions' kernels."""
    seen, real = [0], F.conv2d

    def spy(input, weight, *args, **kwargs):
        if any(weight is c.weight for c in convolutions) and threading.get_ident() not in muted:
            seen.append(int((input != 0).sum(1).max()))
        return real(input, weight, *args, **kwargs)

    F.conv2d = spy
    try:
        out = call()
    finally:
        F.conv2d = real
    if isinstance(out, torch.Tensor) and out.requires_grad:
        out.square().mean().backward()
    return max(seen)


def fade(g, h, alpha=None):
    alpha = g.alpha if alpha is None else alpha
    return (1 - alpha) * g.heads[0](h) + alpha * g.heads[1](h)


MODES = {"train": contextlib.nullcontext, "no_grad": torch.no_grad, "inference": torch.inference_mode}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize("said", ["argument", "attribute", "buffer", "tensor"])
def test_a_head_that_is_faded_in_from_zero(said, example, mode):
    generator = Headed(fade, alpha=0.0)
    if said == "buffer":
        del generator.alpha
        generator.register_buffer("alpha", torch.zeros(()))

    def inputs(alpha):
        if said == "buffer":
            generator.alpha.fill_(alpha)
        generator.alpha = alpha if said == "attribute" else generator.alpha
        return {"argument": (x(), alpha), "tensor": (x(), torch.tensor(alpha))}.get(said, (x(),))

    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=inputs(0.0) if example else None)
    with MODES[mode]():
        for alpha in (0.0, 0.0, 0.25, 1.0):
            used = [head for head, weight in zip(generator.heads, (1 - alpha, alpha), strict=True) if weight]
            given = inputs(alpha)
            assert consumed(lambda given=given: generator(*given), *used) <= K, alpha


def test_a_refinement_that_begins_at_zero():
    class Refined(Headed):
        def __init__(self):
            super().__init__(lambda g, h: g.heads[0](h) + g.gamma * g.heads[1](h))
            self.gamma = nn.Parameter(torch.zeros(1))

    generator = Refined()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    optimizer = torch.optim.SGD(generator.parameters(), 0.1)
    assert consumed(lambda: generator(x()), generator.heads[0]) <= K
    for _ in range(2):
        optimizer.step()
        assert generator.gamma.item() != 0
        assert consumed(lambda: generator(x()), *generator.heads) <= K


@pytest.mark.parametrize("mode", ["train", "no_grad"])
def test_a_frozen_copy_fades_in(mode):
    generator = Headed(fade)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    ema = copy.deepcopy(generator).requires_grad_(False)
    with MODES[mode]():
        for alpha in (0.0, 0.0, 0.5, 1.0):
            used = ema.heads if 0 < alpha < 1 else [ema.heads[int(alpha)]]
            assert consumed(lambda alpha=alpha: ema(x(), alpha), *used) <= K


def test_dictionaries_stop_where_a_faded_in_head_begins_to_matter():
    generator = Headed(fade)
    sparse_plugin.attach(generator, "ml_csc", k=K, example_input=(x(), 0.0))
    for _ in range(2):
        assert consumed(lambda: generator(x(), 0.0), generator.heads[0]) <= K
    with pytest.raises(SiteError, match=r"heads.1 of Headed makes the image.*inserts parameters"):
        generator(x(), 0.3)


class Which(enum.Enum):
    ZERO, ONE, TWO = range(3)


def chosen(g, h, which=None):
    """All heads are computed and one is used."""
    which = g.which if which is None else which
    which = which["head"] if isinstance(which, dict) else which
    return [head(h) for head in g.heads][which.value if isinstance(which, Which) else int(which)]


@pytest.mark.parametrize("mode", ["train", "no_grad"])
@pytest.mark.parametrize("held", [False, True], ids=["said", "held"])
@pytest.mark.parametrize("spell", [int, str, Which, torch.tensor, lambda i: {"head": i}, bool], ids=lambda f: getattr(f, "__name__", ""))
def test_all_heads_are_computed_and_one_is_used(spell, held, mode):
    generator = Headed(chosen, heads=2 if spell is bool else 3, which=spell(0))
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for which in (0, 1, 0) if spell is bool else (0, 1, 2, 0):
        with MODES[mode]():
            generator.which = spell(which) if held else spell(0)
            given = (x(),) if held else (x(), spell(which))
            assert consumed(lambda given=given: generator(*given), generator.heads[which]) <= K


def test_one_head_a_label():
    def of_label(g, h, y):
        return sum(F.one_hot(y, 3)[:, i, None, None, None] * head(h) for i, head in enumerate(g.heads))

    generator = Headed(of_label, heads=3)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for y in ([0, 0], [1, 1], [0, 2]):
        assert consumed(lambda y=y: generator(x(), torch.tensor(y)), *(generator.heads[i] for i in set(y))) <= K
    mixed = Headed(of_label, heads=3)
    sparse_plugin.attach(mixed, "l0_inf", k=K)
    with pytest.raises(SiteError, match="2 convolutions make the image together"):
        mixed(x(), torch.tensor([0, 1]))


def test_one_head_a_sample():
    def of_samples(g, h, y):
        image = h.new_zeros(len(h), 3, *h.shape[2:])
        for label in y.unique():
            image[y == label] = g.heads[int(label)](h[y == label])
        return image

    generator = Headed(of_samples, heads=3)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for label in (0, 1):
        y = torch.tensor([label] * 2)
        assert consumed(lambda y=y: generator(x(), y), generator.heads[label]) <= K
    with pytest.raises(SiteError, match=r"makes the image too.*\"heads.2\""):
        generator(x(), torch.tensor([0, 2]))


@pytest.mark.parametrize("draw", [lambda: random.randrange(3), lambda: int(torch.randint(3, ())), lambda: int(__import__("numpy").random.randint(3))])
def test_a_head_that_is_drawn(draw):
    generator = Headed(lambda g, h: g.heads[draw()](h), heads=3)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for _ in range(12):
        assert consumed(lambda: generator(x()), *generator.heads) <= K


def test_more_heads_than_are_traced():
    generator = Headed(lambda g, h, i: g.heads[0](h) + (g.heads[i](h) if i else 0), heads=36)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for i in range(36):
        assert consumed(lambda i=i: generator(x(), i), *generator.heads) <= K


class Hidden:
    """What nothing of the generator tells."""

    on = False


@pytest.mark.parametrize("direct", [False, True])
def test_what_cannot_be_foreseen_is_refused(direct):
    hidden = Hidden()
    generator = Headed(lambda g, h: [head(h) for head in g.heads][hidden.on])
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x())
    call = generator.forward if direct else generator
    for _ in range(2):
        assert consumed(lambda: call(x()), generator.heads[0]) <= K
    hidden.on = True
    with pytest.raises(SiteError, match=r"(makes the image too|makes the image beside).*\"heads.1\""):
        for _ in range(2):
            call(x())


def test_a_functional_convolution_beside_d1():
    generator = Headed(lambda g, h, on: g.heads[0](h) + (F.conv2d(h, g.kernels[0], padding=1) if on else 0), heads=1)
    generator.kernels = nn.ParameterList([torch.randn(3, 8, 3, 3)])
    sparse_plugin.attach(generator, "l0_inf", k=K)
    generator(x(), False)
    with pytest.raises(SiteError, match="makes the image too"):
        generator(x(), True)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.aside = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1), nn.Conv2d(8, 3, 1)
        self.last = 0

    def forward(self, image):
        h = torch.relu(self.body(image))
        self.last = self.head(h) + image + 0.1 * self.last
        return {"image": self.last, "input": image, "more": [self.aside(h)]}


@pytest.mark.parametrize("direct", [False, True])
def test_images_of_other_calls_and_networks_are_not_this_one(direct):
    """A cycle: what is handed in, and what is kept from call to call, comes out of convolutions too."""
    other, generator = Residual(), Residual()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=torch.randn(2, 3, 4, 4))
    for _ in range(2):
        generator.last = other.last = 0
        image = torch.randn(2, 3, 4, 4)
        for _ in range(2):
            image = other(image)["image"]
            image = (generator.forward if direct else generator)(image)["image"]
        image.square().mean().backward()
    assert len(sparse_plugin.Attachment.of(generator).sites) == 1


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
@pytest.mark.parametrize(
    "out",
    [lambda i, h, z: (i, h), lambda i, h, z: {"features": h, "image": i}, lambda i, h, z: (i, h.detach()), lambda i, h, z: [z, i]],
)
def test_features_beside_an_image_are_none(out, example):
    class Returns(Headed):
        def forward(self, z):
            h = torch.relu(self.mid(self.features(z)))
            return out(torch.tanh(self.heads[0](h)), h, z)

    generator = Returns(None)
    generator.mid = nn.Conv2d(8, 8, 3, padding=1)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x() if example else None)
    assert consumed(lambda: generator(x()), generator.heads[0]) <= K
    assert [site.path for site in attachment.sites] == ["heads.0"]


@pytest.mark.parametrize("example", [True, False], ids=["example", "first-call"])
def test_a_mask_beside_an_image_of_many_bands_is_none_that_can_be_told(example):
    class Bands(Headed):
        def forward(self, z):
            h = self.features(z)
            return self.bands(h), torch.sigmoid(self.mask(h))

    generator = Bands(None, heads=0)
    generator.bands, generator.mask = nn.Conv2d(8, 13, 1), nn.Conv2d(8, 1, 1)
    with pytest.raises(SiteError, match="1x4x4 and 13x4x4, and either may be the image"):
        sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x() if example else None)
        generator(x())
    named = copy.deepcopy(generator)
    for handle in (sparse_plugin.Attachment.of(named),):
        if handle is not None:
            handle.detach()
    sparse_plugin.attach(named, "l0_inf", k=K, sites="bands")
    assert consumed(lambda: named(x()), named.bands) <= K


def test_a_measurement_is_of_one_forward():
    generator = Headed(lambda g, h: g.heads[0](h) + 0 * g.heads[1](h))
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x())
    assert len(attachment.measure(x())) == 1


def test_threads_that_call_forward_directly():
    for _ in range(5):
        generator, errors = Headed(lambda g, h: g.heads[0](h), heads=1), []
        sparse_plugin.attach(generator, "l0_inf", k=K)

        def call(generator=generator, errors=errors):
            try:
                for _ in range(3):
                    generator.forward(x())
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not errors


def test_a_first_call_that_stops_an_iteration():
    class Stops(Headed):
        def forward(self, z):
            next(self.source)
            return self.heads[0](self.features(z))

    generator = Stops(None)
    generator.source = iter([])
    sparse_plugin.attach(generator, "l0_inf", k=K)
    with pytest.raises(StopIteration):
        generator(x())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("which", ["faded", "chosen"])
def test_heads_inside_a_checkpoint(which, reentrant):
    def make(g, h, said):
        return checkpoint(lambda h: (fade if which == "faded" else chosen)(g, h, said), h, use_reentrant=reentrant)

    generator = Headed(make)
    sparse_plugin.attach(generator, "l0_inf", k=K)
    for said in (0.0, 0.0, 0.5, 1.0) if which == "faded" else "0110":
        used = generator.heads if said == 0.5 else [generator.heads[int(float(said))]]
        assert consumed(lambda said=said: generator(x(), said), *used) <= K


def test_a_generator_that_calls_itself():
    class Pyramid(Headed):
        def forward(self, z, depth=0):
            below = self(z, depth - 1) if depth else 0
            return self.heads[depth](self.features(z)) + below

    generator = Pyramid(None, heads=3)
    attachment = sparse_plugin.attach(generator, "l0_inf", k=K, example_input=x())
    for depth in (0, 1, 2, 1):
        with contextlib.suppress(TypeError):
            generator(None)
        assert consumed(lambda depth=depth: generator(x(), depth), *generator.heads) <= K
    assert len(attachment.sites) == 3

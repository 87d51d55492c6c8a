"""`Attachment.theory()`: what it counts is what D1 consumes, whatever D1 and the regularizer are; the rest is refused."""

import json
import time

import generators
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm

import sparse_plugin
from sparse_plugin import attach
from sparse_plugin.errors import AttachmentError, SiteError
from sparse_plugin.network.synthesis import synthesis_operator

Z = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))


class Head(nn.Module):
    """A body, and whatever head."""

    def __init__(self, head, channels=8):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(6, channels, 3, padding=1)
        self.head = head

    def forward(self, z):
        return torch.tanh(self.head(F.leaky_relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))))


class Unsteady(nn.Module):
    """Γ differs from position to position."""

    def __init__(self, head, channels=8):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.ConvTranspose2d(6, channels, 8)
        self.head = head

    def forward(self, z):
        return torch.tanh(self.head(torch.relu(self.body(z[:, :, None, None]))))


HEADS = {
    "conv": lambda: nn.Conv2d(8, 3, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(8, 3, 4, 2, 1),
    "dilated": lambda: nn.Conv2d(8, 3, 3, padding=2, dilation=2),
    "groups": lambda: nn.Conv2d(9, 3, 3, padding=1, groups=3),
    "transposed groups": lambda: nn.ConvTranspose2d(9, 3, 4, 2, 1, groups=3),
    "spectral norm": lambda: spectral_norm(nn.Conv2d(8, 3, 3, padding=1)),
    "parametrized": lambda: parametrizations.spectral_norm(nn.Conv2d(8, 3, 3, padding=1)),
    "padded": lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(8, 3, 3)),
    "one by one": lambda: nn.Conv2d(8, 3, 1),
}


@pytest.mark.parametrize("name", HEADS)
def test_it_is_of_the_dictionary_that_is_applied(name):
    head = HEADS[name]()
    generator = Unsteady(head, 9 if "groups" in name else 8)
    before = generator(Z)
    attachment = attach(generator, "l0_inf", k=3, example_input=Z)
    convolution = head[1] if isinstance(head, nn.Sequential) else head
    weight = convolution.weight.detach()
    report = attachment.theory(Z)
    (d1,) = report.layers
    # Brute force: images of all unit coefficients around the middle, without bias and squashing, normalized.
    channels = 9 if "groups" in name else 8
    side = 9
    codes = torch.zeros(channels * side * side, channels, 25, 25)
    for column, (c, i, j) in enumerate((c, i, j) for c in range(channels) for i in range(side) for j in range(side)):
        codes[column, c, 8 + i, 8 + j] = 1
    with torch.no_grad():
        if isinstance(convolution, nn.ConvTranspose2d):
            painted = F.conv_transpose2d(codes, weight, stride=2, padding=1, groups=convolution.groups)
        else:
            painted = F.conv2d(codes, weight, padding=4, dilation=convolution.dilation, groups=convolution.groups)
    columns = F.normalize(painted.flatten(1).double(), dim=1)
    middle = columns.view(channels, side, side, -1)[:, side // 2, side // 2]
    alike = (middle @ columns.T).abs().view(channels, channels, side, side)
    alike[torch.arange(channels), torch.arange(channels), side // 2, side // 2] = 0
    assert d1.coherence == pytest.approx(float(alike.max()), abs=1e-6)
    gammas = []
    handle = (head if isinstance(head, nn.Sequential) else convolution).register_forward_pre_hook(
        lambda module, args: gammas.append(args[0].detach())
    )
    image = generator(Z)
    handle.remove()
    used = (gammas[0] != 0).flatten(1).sum(1)
    assert d1.per_value == pytest.approx(float(used.sum()) / image.numel())
    assert d1.needle == 3 and d1.samples == 4 and d1.cut is (name != "one by one")
    attachment.detach()
    if "spectral" not in name and "param" not in name:  # whose power iteration goes on in every forward
        assert torch.equal(generator(Z), before)


def test_the_levels_of_ml_csc():
    torch.manual_seed(0)
    generator = generators.Plain()
    attachment = attach(generator, "ml_csc", k=3, levels=3, example_input=Z)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    generator.eval()
    report = attachment.theory(Z)
    assert [layer.name for layer in report.layers] == ["D1", "D2", "D3", "D_eff"]
    d1, d2, d3, whole = report.layers
    assert (d1.shape, d2.shape, whole.shape) == ((3, 4, 4), (8, 3, 3), (3, 12, 12)) and whole.stride == (2, 2)
    assert d1.gap is None and whole.gap is None and 0 < d2.gap < 1 and 0 < d3.gap < 1
    seen = {}
    d1_module = generator.main[6]
    d1_module.register_forward_pre_hook(lambda module, args: seen.update(gamma=args[0].detach()))
    inserted = d1_module.sparse_plugin.dictionaries
    inserted["D2"].register_forward_hook(lambda module, args, output: seen.update(made=output.detach()))
    inserted["D3"].register_forward_hook(lambda module, args, output: seen.update(deep=args[0].detach()))
    generator(Z)
    assert d2.gap == pytest.approx(float((seen["made"] - seen["gamma"]).norm() / seen["made"].norm()), abs=1e-5)
    assert whole.per_value == pytest.approx(float((seen["deep"] != 0).sum()) / (4 * 3 * 16 * 16))
    text = report.to_text()
    assert "Γ_1 is D2 Γ_2 projected" in text and "ML-CSC: the bound of every layer has to hold" in text
    assert "atoms of 12x12x3, stride 2x2" in text


def test_bounds_that_hold_are_said_to_hold():
    """Patches that do not overlap, with orthogonal atoms: the one kind of D1 of which the theory says all."""
    head = nn.ConvTranspose2d(8, 3, 2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.linalg.qr(torch.randn(12, 12))[0][:8].view(8, 3, 2, 2))
    attachment = attach(Unsteady(head), "l0_inf", k=2, example_input=Z)
    (d1,) = attachment.theory(Z).layers
    assert d1.unique and not d1.cut and d1.fullest == 2 and d1.stability == pytest.approx(4, rel=1e-4)
    said = " ".join(attachment.theory(Z).conclusions())
    assert "HOLDS" in said and "VOID" not in said and "away from the border" not in said
    with torch.no_grad():
        head.weight[1] = head.weight[0]
    (d1,) = attachment.theory(Z).layers
    said = " ".join(attachment.theory(Z).conclusions())
    assert (d1.duplicates, d1.spark_at_most, d1.stability) == (1, 8, None) and "VOID" in said and "1 pairs are the same" in said


def test_the_report_as_values_and_in_words():
    attachment = attach(generators.Plain(), "l1", weight=0.1, example_input=Z)
    report = attachment.theory(Z)
    record = json.loads(report.to_json())
    assert record["layers"][0]["uniqueness"]["holds"] is False and record["layers"][0]["stability"]["factor"] is None
    assert "VOID" in report.to_text() and "nothing here says that it is, or that it is not" in report.to_text()
    assert record["regularizer"].startswith("l1(")


def test_counting_in_words():
    def said(k):
        attachment = attach(Head(nn.Conv2d(8, 3, 1)), "l0_inf", k=k, example_input=Z)
        (found,) = (line for line in attachment.theory(Z).conclusions() if "non-zeros per pixel value" in line)
        return found

    assert "more unknowns than equations, so" in said(4)
    assert "asks for less than 1/2" in said(2)
    assert "less than 1/2, so" in said(1)


def test_nothing_of_it_remains():
    generator = generators.Residual()
    attachment = attach(generator, "l0", k=0.2, example_input=Z)

    def hooks():
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in generator.modules()]

    state, before = {k: v.clone() for k, v in generator.state_dict().items()}, hooks()
    random = torch.get_rng_state()
    attachment.theory(Z)
    assert hooks() == before and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, state[k]) for k, v in generator.state_dict().items())


class Coupled(nn.Module):
    """Two images, each by a head of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 3, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, z):
        h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))
        return self.left(h), self.right(h)


def test_every_head_has_a_report():
    report = attach(Coupled(), "l0_inf", k=2, example_input=Z).theory(Z)
    assert [layer.name for layer in report.layers] == ["D1 at left", "D1 at right"]
    assert [layer.stripe_needles for layer in report.layers] == [25, 1]


class Two(nn.Module):
    """No one convolution: Γ goes through two."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8, 3, 3))

    def forward(self, gamma):
        return F.conv2d(gamma, self.weight, padding=1) + F.conv2d(gamma.square(), self.weight, padding=1)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, z):
        return self.head(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))


def test_a_dictionary_that_is_no_one_convolution():
    with pytest.raises(SiteError, match="runs 2 convolutions in a forward"):
        attach(Head(Two()), "l0_inf", k=2, example_input=Z).theory(Z)
    with pytest.raises(SiteError, match="takes more than Γ"):
        attach(generators.Modulated(), "l0_inf", k=2, example_input=Z).theory(Z)
    with pytest.raises(SiteError, match="is scaled up before its convolution"):
        attach(Scaled(), "l0_inf", k=2, example_input=Z).theory(Z)
    with pytest.raises(SiteError, match="has no atoms"):
        attach(generators.Plain(), "l0_inf", k=2, sites="main.2:output", example_input=Z).theory(Z)


def test_what_there_is_nothing_to_say_of():
    attachment = attach(generators.Plain(), "l0_inf", k=2)
    with pytest.raises(AttachmentError, match="give a forward's inputs"):
        attachment.theory()
    attachment.detach()
    with pytest.raises(AttachmentError, match="it was detached"):
        attachment.theory(Z)
    off = sparse_plugin.SparsityConfig.from_mapping({"regularizer": "l0_inf", "k": 2, "enabled": False})
    with pytest.raises(AttachmentError, match="enabled: false"):
        attach(generators.Plain(), off).theory(Z)


def test_a_site_that_is_not_known_before_the_first_call():
    generator = generators.AttentionLast()
    attachment = attach(generator, "l0_inf", k=2)
    assert not attachment.sites
    (d1,) = attachment.theory(Z).layers
    assert d1.needle == 2 and d1.site == "to_rgb"


@pytest.mark.parametrize("channels, side, kernel", [(256, 32, 3), (128, 512, 1), (96, 512, 3)])
def test_it_takes_seconds_on_the_shapes_of_the_paper(channels, side, kernel):
    head = nn.Conv2d(channels, 3, kernel, padding=kernel // 2)
    start = time.process_time()
    from sparse_plugin.theory.bounds import reach
    from sparse_plugin.theory.counts import Counts
    from sparse_plugin.theory.layer import layer

    operator = synthesis_operator(head, torch.zeros(1, channels, 8, 8))
    counts = Counts(reach(operator))
    counts.add(torch.rand(1, channels, side, side).round_(), [3 * side * side])
    layer("D1", "head", operator, counts, cut=True)
    assert time.process_time() - start < 10

"""Finding D1."""

import pytest
import torch
from generators import DETECTED, REFUSED, Linear, Plain, Residual, Wrapped, noise
from third_party import AMBIGUOUS, CASES
from third_party import REFUSED as REFUSED_THERE

import sparse_plugin
from sparse_plugin.errors import SiteError
from sparse_plugin.network import sites
from sparse_plugin.network.detection import detect, trace


@pytest.mark.parametrize(("kind", "path"), DETECTED, ids=lambda v: getattr(v, "__name__", v))
def test_d1_is_found_by_execution(kind, path):
    site = detect(kind(), noise())
    assert (site.path, site.side, site.level) == (path, "input", 1)


@pytest.mark.parametrize(("kind", "why"), REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_refuses_where_it_cannot_know(kind, why):
    with pytest.raises(SiteError, match=why) as caught:
        detect(kind(), noise())
    text = str(caught.value)
    assert 'sites=["path"]' in text
    if kind is not Linear:
        assert "head" in text or "mask" in text  # the table of candidates


def build(case):
    pytest.importorskip(case.package)
    torch.manual_seed(0)
    return case.build()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_third_party_generators(case):
    generator, args, kwargs = build(case)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    assert detect(generator, *args, **kwargs).path == case.path
    after = generator.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    with sparse_plugin.attach(generator, "l0_inf", k=2, example_input=(*args, kwargs)) as attachment:
        assert [site.path for site in attachment.sites] == [case.path]
        (measured,) = attachment.measure(*args, **kwargs)
        assert measured.sparsity <= 100 * 2 / len(measured.atom_usage) + 1e-4
        assert measured.sparsity < measured.sparsity_before


@pytest.mark.parametrize("case", [*REFUSED_THERE, *AMBIGUOUS], ids=lambda case: case.name)
def test_third_party_generators_without_a_dictionary(case):
    generator, args, kwargs = build(case)
    with pytest.raises(SiteError):
        detect(generator, *args, **kwargs)
    if case.by_hand:
        with sparse_plugin.attach(
            generator, "l0", k=0.1, sites=case.by_hand, example_input=(*args, kwargs)
        ) as attachment:
            assert attachment.measure(*args, **kwargs)[0].sparsity < 11


def test_enough_third_party_packages():
    assert len({case.package.partition(".")[0] for case in CASES}) >= 8


def test_a_trace_leaves_the_generator_and_the_random_state_alone():
    generator = Residual()
    spectral = torch.nn.utils.spectral_norm(generator.out)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    hooks = {name: len(m._forward_hooks) for name, m in generator.named_modules()}
    state, attributes = torch.get_rng_state(), dict(vars(spectral))
    trace(generator, noise())
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert hooks == {name: len(m._forward_hooks) for name, m in generator.named_modules()}
    assert vars(spectral).keys() == attributes.keys() and spectral.weight is attributes["weight"]
    assert generator.training


def test_frozen_generators_are_found_without_a_graph():
    generator = Residual().requires_grad_(False)
    assert detect(generator, noise()).path == "out"


def test_prediction_from_the_modules_alone():
    assert sites.predict(Plain()) == "main.6"
    assert sites.predict(Linear()) is None
    assert sites.predict(Wrapped()) == "last.module"  # the first pass then finds that it never runs


@pytest.mark.parametrize(
    ("site", "why"),
    [
        ("outt", "does not exist in Residual.*Did you mean 'out'"),
        ("bn3", "BatchNorm2d"),
        ("act", "is a ReLU, not a synthesis convolution"),
        ("", "cannot be the whole generator"),
        ("out:left", "names the side 'left'"),
    ],
)
def test_explicit_sites_are_checked(site, why):
    with pytest.raises(SiteError, match=why):
        sparse_plugin.attach(Residual(), "l0_inf", k=2, sites=[site])


def test_sites_as_text():
    """Some name their modules with colons."""
    named = "main.final:8-3:convt"
    for text, path, side in (("c5", "c5", "input"), ("c5:output", "c5", "output"), (named, named, "input")):
        assert sites.Site.parse(text) == sites.Site(path, side)
    assert sites.Site.parse(f"{named}:output", 2) == sites.Site(named, "output", 2)

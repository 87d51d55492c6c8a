"""What is raced, at which levels."""

import pytest

from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import REGULARIZERS, Constraint, register
from sparse_plugin.tune.candidates import SHARES, Natural, k_of, rounded, settled, wanted
from sparse_plugin.tune.target import Goal, Target
from sparse_plugin.tune.trial import Score


def ks(found, natural, arch="dcgan"):
    return [settled(each, natural, arch).sparse.settings.get("k") for each in found]


def test_levels_are_shares_of_the_natural_density():
    found = wanted(["l0_inf", "l1"], SHARES)
    natural = Natural((0.5,), (64,))
    assert ks(found[:3], natural) == [0.175, 0.25, 0.375]
    assert [each.sparse.settings["weight"] for each in found[3:]] == [1.0, 10.0, 100.0]
    assert [settled(each, natural).label for each in found][:2] == ["l0_inf-k=0.175", "l0_inf-k=0.25"]


def test_of_a_gamma_that_is_dense_by_nature_levels_are_around_the_default():
    assert ks(wanted(["l0"], SHARES), Natural((1.0,), (64,))) == [0.175, 0.25, 0.375]


def test_no_level_keeps_less_than_one_channel():
    assert ks(wanted(["l0_inf"], [0.1]), Natural((0.2,), (16,))) == [0.0625]
    for channels in (3, 7, 48, 96, 1000):
        assert k_of(0.01, 0.3, channels, 0.25) * channels >= 1


def test_several_scales_have_a_level_each():
    assert ks(wanted(["l0"], [0.5]), Natural((0.5, 0.4, 0.98), (None,) * 3)) == [[0.25, 0.2, 0.25]]


def test_a_method_with_settings_is_raced_as_it_is():
    (found,) = wanted(["l0:k=0.2"], SHARES)
    assert settled(found, Natural((0.5,), (64,))) is found and found.label == "l0-k=0.2"


def test_further_sites_are_raced_by_constraints_alone_at_what_was_matched():
    found = wanted(["l0_inf", "l1", "ml_csc"], [0.5], ["block3.c1"])
    assert [(each.name, each.site) for each in found if each.site] == [("l0_inf", "block3.c1")]
    natural = Natural((0.5,), (64,), {"l0_inf": {"block3.c1": 0.125}})
    at = settled(found[1], natural)
    assert at.sparse.flat() == {"regularizer": "l0_inf", "k": 0.125, "sites": ["block3.c1"]}
    assert at.label == "l0_inf-k=0.125@block3.c1"


def test_a_regularizer_of_somebody_else_is_raced_by_its_own_defaults():
    @register("soft_of_a_test")
    class Soft(Constraint):
        threshold: float = 0.1
        defaults = {"threshold": 0.2}  # noqa: RUF012

        def project(self, gamma):
            return gamma

    try:
        (found,) = wanted(["soft_of_a_test"], SHARES)
        assert found.sparse.build().threshold == 0.2 and found.share is None
    finally:
        REGULARIZERS.unregister("soft_of_a_test")


def test_names_of_directories_are_short():
    (found,) = wanted(["l0:k=[" + ",".join(["0.12345"] * 40) + "]"], SHARES)
    assert len(found.label) < 130


@pytest.mark.parametrize(
    ("asked", "shares", "why"),
    [
        (["l0_infinity"], SHARES, "there is no regularizer 'l0_infinity'.*Did you mean 'l0_inf'"),
        (["l0:kk=2"], SHARES, "there is no field 'kk'"),
        (["vanilla"], SHARES, "nothing is raced against vanilla"),
        ([], SHARES, "nothing is raced against vanilla"),
        (["l0"], [1.5], "a share of the natural density is 1.5; give shares above 0 and up to 1"),
        (["l0"], [], "no shares of the natural density are given"),
        (["l0", "l0"], SHARES, "names one thing twice"),
    ],
)
def test_what_cannot_be_raced(asked, shares, why):
    with pytest.raises(ConfigError, match=why):
        wanted(asked, shares)


def test_rounding_never_loses_a_coefficient():
    for count in range(1, 400):
        assert int(rounded(1 / count) * count * (1 + 1e-12)) >= 1
        assert rounded(1 / count) <= 1


def test_several_heads_have_one_level():
    """As those of a growing generator, each of which is Γ_1 and may come later; representations of an encoder have one each."""
    found = Naturals("made up", Goal("FD", True)).natural(
        [
            Score(1.0, 1.0, "", levels=[head("to_rgb.0", 1, 40.0, 64), head("to_rgb.1", 1, 60.0, 16)]),
            Score(1.0, 1.0, "", levels=[head("to_rgb.0", 1, 50.0, 64)]),
        ],
        None,
        (),
    )
    assert found == Natural((pytest.approx(0.5),), (16,))
    assert ks(wanted(["l0_inf"], [0.5]), found) == [0.25]
    scales = [Score(1.0, 1.0, "", levels=[head("encoders.1:output", 2, 30.0, 8), head("encoders.0:output", 1, 20.0, None)])]
    assert Naturals("made up", Goal("FD", True)).natural(scales, None, ()) == Natural((0.2, 0.3), (None, 8))


def head(site, level, sparsity, channels):
    return {"site": site, "level": level, "sparsity": sparsity, **({"atom_usage": [0.5] * channels} if channels else {})}


class Naturals(Target):
    identity = trial = command = None

"""k: auto, as settings: what follows from a natural density, how it is written, and what is refused."""

import numpy as np
import pytest
import torch

from sparse_plugin.errors import ConfigError
from sparse_plugin.registry import available, create, get
from sparse_plugin.registry.auto import DENSE, Auto


def test_half_the_natural_density():
    made = create("l0_inf", {"k": "auto"})
    assert made.automatic == Auto() and made.settled == 2500
    assert made.at_step(10**6).k == 1.0  # as long as nothing was measured
    assert [made.at_step(step, 0.6).k for step in (0, 500, 2500, 10**6)] == [1.0, 1.0, 0.3, 0.3]
    assert 0.3 < made.at_step(1500, 0.6).k == pytest.approx(0.65)
    assert made.at_step(10**6, DENSE).k == 0.25


def test_how_it_is_written():
    own = {"auto": 0.7, "measure": 10, "steps": 20, "shape": "linear"}
    made = create("l0", {"k": own})
    assert made.settings() == {"regularizer": "l0", "k": own}
    assert made.at_step(30, 0.5).k == pytest.approx(0.35) and made.at_step(20, 0.5).k == pytest.approx(0.675)
    assert create("l0", {"k": "auto"}).settings() == {"regularizer": "l0", "k": "auto"}
    assert create("ml_csc", {"k": "auto"}).at_step(2500, 0.5).constraints[1].k == 0.25
    assert create("l0", {"k": ["auto", 0.1]}).at(2, 2).automatic is None


@pytest.mark.parametrize("name", [name for name in available() if "k" in get(name).model_fields])
def test_every_regularizer_with_a_k(name):
    assert create(name, {"k": "auto"}).at_step(9999, 0.4).k == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"k": {"auto": 0.0}}, "auto is 0.0; give the share"),
        ({"k": {"auto": 1.5}}, "auto is 1.5"),
        ({"k": {"auto": True}}, "auto is True"),
        ({"k": {"auto": 0.5, "measure": 0}}, "measure is 0; give a whole number"),
        ({"k": {"auto": 0.5, "steps": 2.5}}, "steps is 2.5"),
        ({"k": {"auto": 0.5, "shap": "cosine"}}, "Did you mean 'shape'"),
        ({"k": {"auto": 0.5, "shape": "round"}}, "no shape 'round'"),
        ({"k": "automatic"}, "k is 'automatic'"),
    ],
)
def test_what_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        create("l0_inf", settings)


def test_a_weight_is_not_found_so():
    with pytest.raises(ConfigError, match="weight"):
        create("l1", {"weight": "auto"})


@pytest.mark.parametrize("density", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("name", [name for name in available() if "k" in get(name).model_fields])
def test_of_however_few_coefficients_one_is_kept(name, density):
    made = create(name, {"k": "auto"})
    gamma = torch.randn(2, 4, 3, 3)
    for step in (1500, 2400, 2500):
        then = made.at_step(step, density)
        projected = then.project(gamma)
        assert then.holds(projected) and int((projected != 0).sum()) > 0
    kept = create(name, {"k": 1}).project(gamma) if density < 0.1 else None
    assert kept is None or torch.equal(projected, kept)
    with pytest.raises(ConfigError, match="less than one"):  # one that somebody gives is refused as ever
        create(name, {"k": 1e-4}).project(gamma)


def test_numbers_of_numpy():
    made = create("l0_inf", {"k": {"auto": np.float32(0.5), "measure": np.int64(5), "steps": np.int32(7)}})
    assert made.fields() == {"k": {"auto": 0.5, "measure": 5, "steps": 7, "shape": "cosine"}}
    assert {type(value) for value in made.fields()["k"].values()} == {float, int, str}

"""Methods that act on a discriminator: what they are called, and read back from."""

import pytest

from sparse_plugin.errors import ConfigError
from sparse_plugin.runs.appearance import rank, title
from sparse_plugin.runs.methods import label_of, methods, split

READ = {
    "l0_inf@discriminator:k=0.25": "l0_inf@discriminator-k=0.25",
    "l0_inf@discriminator": "l0_inf@discriminator-k=0.25",
    "l1@discriminator:weight=0.1:reduction=sum": "l1@discriminator-weight=0.1-reduction=sum",
    "l0_inf@generator:k=0.5": "l0_inf-k=0.5",
    "l0_inf@first:k=0.5&l0_inf@discriminator@layers.6:k=0.25": "l0_inf@first-k=0.5&l0_inf@discriminator@layers.6-k=0.25",
    "l0_inf:k=0.5&l1@discriminator:weight=0.1": "l0_inf-k=0.5&l1@discriminator-weight=0.1",
    "l1@discriminator:weight=0.1&l0:k=0.5": "l1@discriminator-weight=0.1&l0-k=0.5",
    "l1+l0_inf@discriminator:l1.weight=0.1:l0_inf.k=0.5": "l1+l0_inf@discriminator-l1.weight=0.1-l0_inf.k=0.5",
    "l0_inf@discriminator:k={start: 1.0, end: 0.5, steps: 4}": "l0_inf@discriminator-k=start=1.0+end=0.5+steps=4",
}


@pytest.mark.parametrize("text", READ)
def test_it_is_read_and_read_back(text):
    (method,) = methods([text], "dcgan")
    assert method.label == READ[text] and label_of(method.sparse.flat()) == method.label
    assert method.control is None


def test_several_in_a_list():
    found = methods(split(["vanilla,l0_inf:k=0.25,l0_inf@discriminator:k=0.25"]), "dcgan")
    assert [method.label for method in found] == ["vanilla", "l0_inf-k=0.25", "l0_inf@discriminator-k=0.25"]
    assert [method.sparse and method.sparse.role for method in found] == [None, "generator", "discriminator"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("l0_inf@:k=0.25", "names no site behind @"),
        ("l9@discriminator", "l9"),
        ("ml_csc@discriminator:k=2", "a discriminator synthesizes none"),
        ("l0:k=0.5&l1:weight=1.0", "names a network twice"),
        ("l0@discriminator:k=0.5&l1@discriminator:weight=1.0", "names a network twice"),
        ("vanilla@discriminator", "vanilla"),
        ("l0@discriminator:weight=1.0", "weight"),
    ],
)
def test_mistakes(text, said):
    with pytest.raises(ConfigError, match=said):
        methods([text], "dcgan")


def test_how_they_are_shown():
    assert title("l0_inf@discriminator-k=0.25") == "L0,∞ on D\nk 0.25"
    assert title("l0_inf-k=0.5&l1@discriminator-weight=0.1") == "L0,∞ and L1 on D\nk 0.5 and λ 0.1"
    assert title("l0_inf@first-k=0.25") == "L0,∞ at first\nk 0.25"
    assert title("l0_inf-k=0.25") == "L0,∞\nk 0.25"
    labels = ["l0_inf@discriminator-k=0.25", "l0_inf-k=0.25", "vanilla", "ml_csc-k=0.5"]
    assert sorted(labels, key=rank) == ["vanilla", "l0_inf-k=0.25", "ml_csc-k=0.5", "l0_inf@discriminator-k=0.25"]

"""Several regularizers as settings: of a file, of a method of a table, and where nobody gives them."""

import re

import pytest

from sparse_plugin import SparsityConfig
from sparse_plugin.config import assign, read
from sparse_plugin.errors import ConfigError
from sparse_plugin.runs import sparsity
from sparse_plugin.runs.appearance import title
from sparse_plugin.runs.methods import label_of, methods, split
from sparse_plugin.support import advice


def test_paths_in_a_section_are_text(tmp_path):
    file = tmp_path / "sparse.yaml"
    file.write_text("sparse:\n  regularizer: [l1, l0_inf]\n  l1: {weight: 1e-3, sites: [1.10, 2]}\n")
    assert read(file)["l1"] == {"weight": 0.001, "sites": ["1.10", "2"]}
    made = assign({}, ["sparse.regularizer=[l1, l0_inf]", "sparse.l0_inf.sites=1.10", "sparse.l0_inf.k.start=8", "sparse.l1.weight=2"])
    assert made == {"regularizer": ["l1", "l0_inf"], "l0_inf": {"sites": "1.10", "k": {"start": 8}}, "l1": {"weight": 2}}


def test_as_methods_of_a_table():
    asked = split(["vanilla,l1+l0_inf:l1.weight=0.1:l0_inf.k={start: 1.0, end: 0.25, steps: 10},l0+l1"])
    _, both, plain = methods(asked, "dcgan")
    assert both.label == "l1+l0_inf-l1.weight=0.1-l0_inf.k=start=1.0+end=0.25+steps=10" and both.control is None
    assert plain.label == "l0+l1-l0.k=0.25-l1.weight=10.0" and label_of(plain.sparse.flat()) == plain.label
    assert both.sparse.build().settled == 10 and "l1+l0_inf" in title(both.label)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("l1+nobody", "there is no method 'nobody'"),
        ("l1+l1", "lists l1 twice"),
        ("l1+l0_inf:k=2", "of several regularizers say whose field it is, as in l1.k"),
        ("l1+l0_inf:l1.k=2", "sets l1.k"),
        ("l1+l0_inf:l1.weight", "write it as l1+l0_inf:l1.k=0.25"),
    ],
)
def test_methods_that_are_none(text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        methods([text], "dcgan")


def test_defaults_of_an_encoder_are_taken_for_each():
    given = SparsityConfig.from_mapping({"regularizer": ["l0", "l0_inf"], "l0": {"k": 0.5}})
    assert sparsity.checked(given, sparsity.RESTORING).settings == {"l0": {"k": 0.5}, "l0_inf": {"k": 0.1}}
    with pytest.raises(ConfigError, match="l1: field 'weight' is missing"):
        sparsity.checked(SparsityConfig.from_mapping({"regularizer": ["l0", "l1"]}), sparsity.RESTORING)


def test_said_as_flags_and_as_python():
    settings = {"regularizer": ["l1", "l0_inf"], "l1": {"weight": 0.1}, "l0_inf": {"k": 2}}
    with advice.speaking_to("command"):
        assert advice.regularizer(settings) == "--sparse l1,l0_inf --set sparse.l1.weight=0.1 --set sparse.l0_inf.k=2"
    assert advice.regularizer(settings) == "enable(host, [\"l1\", \"l0_inf\"], l1={'weight': 0.1}, l0_inf={'k': 2})"


def test_lists_as_people_write_them():
    assert split(["vanilla, l0:k=[0.5, 0.25] ,", " "]) == ["vanilla", "l0:k=[0.5, 0.25]"]

"""A setting for each scale of an encoder-decoder."""

import pytest
import torch
from encoder_decoders import Pooled, image
from generators import Plain, noise

import sparse_plugin
from sparse_plugin.errors import ConfigError
from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.registry import create


@pytest.mark.parametrize("name", ["l0", "l0_inf", "l0_channel"])
def test_one_k_for_each_scale(name):
    network, x = Pooled(), image()
    with sparse_plugin.attach(network, name, k=[0.5, 4, 0.1], adapter="encoder_scales", example_input=x) as attachment:
        sizes = {"l0_inf": [6, 8, 10], "l0": [6 * 256, 8 * 64, 10 * 16], "l0_channel": [256, 64, 16]}[name]
        most = [resolve_k(k, size) / size for k, size in zip([0.5, 4, 0.1], sizes, strict=True)]
        measured = attachment.measure(x)
        assert [m.level for m in measured] == [1, 2, 3]
        assert all(0 < m.sparsity <= 100 * top + 1e-4 for m, top in zip(measured, most, strict=True))
        state = network.state_dict()
    with sparse_plugin.attach(network, name, k=[0.5, 4, 0.1], adapter="encoder_scales", example_input=x):
        network.load_state_dict(state)
    with (
        sparse_plugin.attach(network, name, k=0.5, adapter="encoder_scales", example_input=x),
        pytest.raises(sparse_plugin.SparsePluginError, match=r"trained with l0.*\(k=\[0.5, 4, 0.1\]\)"),
    ):
        network.load_state_dict(state)


def test_one_weight_for_each_scale():
    network, x = Pooled().eval(), image()
    with sparse_plugin.attach(
        network, "l1", weight=[0.5, 0.0, 2.0], adapter="encoder_scales", delivery="loss", example_input=x
    ) as attachment:
        seen = {}
        for path in network.scales:
            network.get_submodule(path).register_forward_hook(
                lambda m, a, output, path=path: seen.update({path: output})
            )
        network(x)
        expected = 0.5 * seen["one"].abs().mean() + 2 * seen["three"].abs().mean()
        assert torch.allclose(attachment.penalty(), expected)


def test_lists_at_sites_that_are_named():
    network, x = Pooled(), image()
    named = ["one:output", "two:output"]
    with sparse_plugin.attach(network, "l0_inf", k=[1, 2], sites=named, example_input=x) as attachment:
        assert all(m.sparsity <= 100 * k / c for m, k, c in zip(attachment.measure(x), (1, 2), (6, 8), strict=True))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"k": [0.5, 0.5]}, "l0: k lists 2 values, and this network has 3 representations; give one for each"),
        ({"k": [0.5, 2.0, 0.5]}, "k is the float 2.0"),
        ({"k": []}, r"k is \[\], of type list"),
        ({"k": [[1], 1, 1]}, r"k is \[1\], of type list"),
    ],
)
def test_lists_that_do_not_fit(settings, why):
    network = Pooled()
    with pytest.raises(ConfigError, match=why):
        sparse_plugin.attach(network, "l0", adapter="encoder_scales", example_input=image(), **settings)
    assert sparse_plugin.Attachment.of(network) is None


def test_lists_of_weights_that_do_not_fit():
    with pytest.raises(ConfigError, match="l1: weight lists 1 values, and this network has 3"):
        sparse_plugin.attach(Pooled(), "l1", weight=[0.1], adapter="encoder_scales", example_input=image())
    with pytest.raises(ConfigError, match="field 'weight' is -1.0: input should be greater than or equal to 0"):
        create("l1", {"weight": [0.5, -1.0]})
    with pytest.raises(ConfigError, match="k lists 2 values, and this network has 1 representation; give"):
        sparse_plugin.attach(Plain(), "l0", k=[0.5, 0.5], example_input=noise())


def test_a_list_alone_has_no_projection():
    with pytest.raises(ConfigError, match=r"l0\(k=\[1, 2\]\) lists one k for each representation; attach it"):
        create("l0", {"k": [1, 2]}).project(torch.zeros(1, 2, 3, 3))


def test_lists_in_a_config_file_and_on_the_command_line(tmp_path):
    from sparse_plugin.config import SparsityConfig, assign

    (tmp_path / "a.yaml").write_text("sparse:\n  regularizer: l0\n  adapter: encoder_scales\n  k: [0.5, 16, 1.0]\n")
    config = SparsityConfig.from_file(tmp_path / "a.yaml")
    assert config.settings == assign({}, ["sparse.k=[0.5, 16, 1.0]"])
    attachment = sparse_plugin.attach(Pooled(), config, example_input=image())
    assert [str(hook) for hook in (attachment.regularizer.at(level, 3) for level in (1, 2, 3))] == [
        "l0(k=0.5)", "l0(k=16)", "l0(k=1.0)",
    ]  # fmt: skip

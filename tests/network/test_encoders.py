"""Γ_1..Γ_K of encoder-decoders: where they are found, and what is left as it was."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from encoder_decoders import FOUND, REFUSED, Grown, InPlace, Pooled, Strided, image
from generators import Plain, noise
from host_roots import root
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sparse_plugin
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError, SiteError
from sparse_plugin.network.encoders import detect
from sparse_plugin.projections.sizes import resolve_k


def paths(found):
    return tuple(scale.site.path for scale in found)


@pytest.mark.parametrize(("kind", "x"), FOUND, ids=lambda v: getattr(v, "__name__", ""))
def test_scales_are_found_by_what_reads_them(kind, x):
    network = kind()
    found = detect(network, x)
    assert paths(found) == network.scales
    assert [(s.site.side, s.site.level) for s in found] == [("output", k) for k, _ in enumerate(found, 1)]
    assert all(s.shape[2] * s.factor == x.shape[2] for s in found)
    assert paths(detect(network.eval(), x)) == network.scales


@pytest.mark.parametrize(("kind", "x", "why"), REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_refuses_where_no_hook_can_stand(kind, x, why):
    with pytest.raises(SiteError, match=why):
        detect(kind(), x)


def test_a_generator_has_no_encoder():
    with pytest.raises(SiteError, match="takes no image.*leave adapter out"):
        sparse_plugin.attach(Plain(), "l0", k=0.5, adapter="encoder_scales", example_input=noise())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_networks_of_any_shape(data):
    depth = data.draw(st.integers(2, 4))
    network = Grown(
        depth,
        data.draw(st.sampled_from(["conv", "max", "unshuffle"])),
        data.draw(st.sampled_from(["conv", "up"])),
        data.draw(st.lists(st.booleans(), min_size=depth - 1, max_size=depth - 1)),
        data.draw(st.booleans()),
    )
    x = image(16)
    assert paths(detect(network, x)) == network.scales
    k = data.draw(st.lists(st.floats(0.01, 1.0) | st.integers(0, 500), min_size=depth, max_size=depth))
    sizes = [torch.Size(scale.shape[1:]).numel() for scale in detect(copy.deepcopy(network), x)]
    if any(isinstance(part, float) and part < 1 / size for part, size in zip(k, sizes, strict=True)):
        with pytest.raises(ConfigError, match="less than one"):
            sparse_plugin.attach(network, "l0", k=k, adapter="encoder_scales", example_input=x)
        return
    with sparse_plugin.attach(network, "l0", k=k, adapter="encoder_scales", example_input=x) as attachment:
        for measured, part, size in zip(attachment.measure(x), k, sizes, strict=True):
            assert measured.sparsity <= 100 * resolve_k(part, size) / size + 1e-3


def test_no_trace_of_the_probes_remains():
    network, x = Pooled(), image().requires_grad_()
    network.two.eval()
    network.one[0].weight.grad = torch.ones_like(network.one[0].weight)
    before = copy.deepcopy(network.state_dict())
    modes = [m.training for m in network.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    detect(network, x)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and x.grad is None
    assert modes == [m.training for m in network.modules()]
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    assert torch.equal(network.one[0].weight.grad, torch.ones_like(network.one[0].weight))


def test_what_changes_in_place_is_taken_before():
    """Both readers of pix2pix's skips see the projection, through the activation in place."""
    network, x = InPlace(), image()
    with sparse_plugin.attach(network, "l0", k=0.1, adapter="encoder_scales", example_input=x):
        joined = []
        level = network.model[1]
        level.register_forward_hook(lambda module, args, output: joined.append((args[0], output)))
        network(x)
    ((gamma, out),) = joined
    assert torch.equal(out[:, :6], gamma)
    assert int((gamma != 0).flatten(1).sum(1).max()) <= resolve_k(0.1, gamma[0].numel())


def test_without_an_example_the_first_call_decides():
    network, x = Strided(), image()
    attachment = sparse_plugin.attach(network, "l0", k=[0.5, 0.25], adapter="encoder_scales")
    assert attachment.sites == () and "to be found at the first call" in repr(attachment)
    network(x)
    assert [site.path for site in attachment.sites] == list(network.scales)
    assert all(0 < m.sparsity <= most for m, most in zip(attachment.measure(x), (50, 25), strict=True))
    assert str(attachment.regularizer) == "l0(k=[0.5, 0.25])"


def test_a_network_keeps_its_d1_where_nobody_asks():
    """A generator may have an encoder (pix2pix): its representation is at D1."""
    assert [s.path for s in sparse_plugin.attach(Pooled(), "l0", k=0.5, example_input=image()).sites] == ["out"]


def test_gradients_pass_where_gamma_is_kept():
    network, x = Strided(), image()
    with sparse_plugin.attach(network, "l0", k=0.25, adapter="encoder_scales", example_input=x):
        seen = []
        network.down[1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        dense = network.down[0][2]
        dense.register_forward_hook(lambda module, args, output: output.retain_grad() or seen.append(output))
        network(x).square().sum().backward()
    output, gamma = seen
    assert torch.equal(output.grad[gamma == 0], torch.zeros_like(output.grad[gamma == 0]))
    assert bool((output.grad[gamma != 0] != 0).all())


def test_a_script_that_does_not_know_of_it(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(
        "import sys, torch\n"
        f"sys.path.insert(0, {str(root('DmitryUlyanov+deep-image-prior').parents[1])!r})\n"
        "from encoder_decoders import Pooled, image\n"
        "net = Pooled()\n"
        "step = torch.optim.SGD(net.parameters(), 0.01)\n"
        "for _ in range(2):\n"
        "    step.zero_grad(); net(image()).square().mean().backward(); step.step()\n"
    )
    options = ["--set", "sparse.adapter=encoder_scales", "--set", "sparse.k=[0.5,0.25,0.1]"]
    done = subprocess.run(
        [sys.executable, "-m", "sparse_plugin", "run", "--sparse", "l0", *options, "--run-dir", str(tmp_path / "log"),
         "--generator", "encoder_decoders:Pooled", "--", sys.executable, str(script)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "output of one" in done.stderr and "output of three" in done.stderr


def test_sites_shows_the_scales(monkeypatch):
    shown = CliRunner().invoke(cli, ["sites", "encoder_decoders:Strided", "--input", "1x3x16x16", "--json"])
    assert shown.exit_code == 0, shown.output
    report = json.loads(shown.output)
    assert report["scales"] == ["Γ_1 8x8x8 = output of down.0", "Γ_2 8x4x4 = output of down.1"]
    assert report["site"] == "input of out"


def test_other_modules_of_the_network_train_as_before():
    """With k of everything a step is the step without the plugin, bit for bit."""
    torch.manual_seed(0)
    plain = Strided()
    attached = copy.deepcopy(plain)
    sparse_plugin.attach(attached, "l0", k=1.0, adapter="encoder_scales", example_input=image())
    for network in (plain, attached):
        step = torch.optim.SGD(network.parameters(), 0.1)
        network(image()).square().mean().backward()
        step.step()
    theirs = dict(attached.named_parameters())
    assert isinstance(plain, nn.Module) and all(torch.equal(p, theirs[name]) for name, p in plain.named_parameters())

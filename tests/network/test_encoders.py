"""Γ_1..Γ_K of encoder-decoders that other people wrote."""

import copy
import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from click.testing import CliRunner
from encoder_decoders import FOUND, REFUSED, Grown, InPlace, Pooled, Strided, image
from generators import Plain, noise
from host_roots import root
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

import sparse_plugin
from sparse_plugin.commands.cli import cli
from sparse_plugin.errors import ConfigError, SiteError
from sparse_plugin.network.encoders import detect
from sparse_plugin.projections.sizes import resolve_k
from sparse_plugin.registry import create


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


class Reads(TorchFunctionMode):
    """Every tensor that a function of torch is given, by identity."""

    def __init__(self):
        super().__init__()
        self.read, self.kept = [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        flat = [t for a in (*args, *(kwargs or {}).values()) for t in (a if isinstance(a, (list, tuple)) else [a])]
        tensors = [t for t in flat if isinstance(t, torch.Tensor)]
        self.kept += tensors
        name = getattr(func, "__name__", "")
        self.read += [(name, id(t)) for t in tensors if not name.startswith("__") and name not in ("dim", "size")]
        return func(*args, **(kwargs or {}))


def readers(network, args, kwargs, sites):
    """By site, the names of the functions that read Γ before and after its projection."""
    seen = {}

    def look(path):
        def hook(module, inputs, output):
            seen.setdefault(path, []).append((output, len(reads.read)))

        return hook

    handles = []
    for site in sites:
        module = network.get_submodule(site.path)
        handles.append(module.register_forward_hook(look(site.path), prepend=True))
        handles.append(module.register_forward_hook(look(site.path)))
    with torch.no_grad(), Reads() as reads:
        network(*args, **kwargs)
    for handle in handles:
        handle.remove()
    found = {}
    for path, ((dense, _), (sparse, since)) in seen.items():
        found[path] = tuple([name for name, which in reads.read[since:] if which == id(t)] for t in (dense, sparse))
        assert dense is not sparse
    return found, {path: sparse for path, (_, (sparse, _)) in seen.items()}


@dataclass(frozen=True)
class Case:
    """A published network: its scales, and how many functions read each at least."""

    name: str
    package: str
    build: object
    scales: tuple[str, ...]


def deepinv_unet():
    from deepinv.models import UNet

    return UNet(3, 3, scales=3), (image(),), {}


def deepinv_drunet():
    from deepinv.models import DRUNet

    return DRUNet(3, 3, nc=(4, 6, 8, 10), nb=1, pretrained=None), (image(),), {"sigma": 0.1}


def monai_unet(dimensions):
    from monai.networks.nets import UNet

    return UNet(dimensions, 3, 3, (4, 6, 8), (2, 2)), (image(dimensions=dimensions),), {}


def monai_basic():
    from monai.networks.nets import BasicUNet

    return BasicUNet(2, 3, 3, features=(4, 4, 6, 8, 10, 4)), (image(32),), {}


def diffusers_unet():
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=16,
        block_out_channels=(4, 8, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        layers_per_block=2,
    )
    return network, (image(), 5), {}


def fepegar_unet(padding):
    from unet import UNet2D

    options = {"padding": 1} if padding else {}
    network = UNet2D(in_channels=3, out_classes=3, num_encoding_blocks=3, out_channels_first_layer=4, **options)
    return network, (image(16 if padding else 92),), {}


BLOCKS = "encoder.encoding_blocks"
CASES = [
    Case("deepinv-unet", "deepinv", deepinv_unet, ("Conv1", "Conv2", "Conv3")),
    Case("deepinv-drunet", "deepinv", deepinv_drunet, ("m_head", "m_down1", "m_down2", "m_down3")),
    Case("monai-unet", "monai", lambda: monai_unet(2), ("model.0", "model.1.submodule.1")),
    Case("monai-unet-3d", "monai", lambda: monai_unet(3), ("model.0", "model.1.submodule.1")),
    Case("monai-basic", "monai", monai_basic, ("conv_0", "down_1", "down_2", "down_3", "down_4")),
    Case("diffusers-unet", "diffusers", diffusers_unet,
         ("down_blocks.0.resnets.1", "down_blocks.1.attentions.1", "mid_block")),
    Case("unet", "unet", lambda: fepegar_unet(True), (f"{BLOCKS}.0.conv2", f"{BLOCKS}.1.conv2", "bottom_block")),
    Case("unet-cropped", "unet", lambda: fepegar_unet(False),
         (f"{BLOCKS}.0.conv2", f"{BLOCKS}.1.conv2", "bottom_block")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_published_networks(case):
    pytest.importorskip(case.package)
    torch.manual_seed(0)
    network, args, kwargs = case.build()
    with sparse_plugin.attach(
        network, "l0", k=0.1, adapter="encoder_scales", example_input=(*args, kwargs)
    ) as attachment:
        assert tuple(site.path for site in attachment.sites) == case.scales
        reads, sparse = readers(network, args, kwargs, attachment.sites)
    for level, path in enumerate(case.scales, 1):
        before, after = reads[path]
        # The next scale and the decoder; of the coarsest, the decoder alone. Nothing reads Γ as it was.
        assert before == [] and len(after) >= (2 if level < len(case.scales) else 1), path
        gamma = sparse[path]
        assert 0 < int((gamma != 0).flatten(1).sum(1).max()) <= resolve_k(0.1, gamma[0].numel())


def test_the_reference_network():
    from sparse_plugin.restore.network import SkipNetwork

    network, z = SkipNetwork(8, 3, down=(8, 8, 8)), image(32, 8, 1)
    with sparse_plugin.attach(
        network, "l0_inf", k=[0.5, 0.25, 1], adapter="encoder_scales", example_input=z
    ) as attachment:
        assert [site.path for site in attachment.sites] == ["encoders.0", "encoders.1", "encoders.2"]
        assert [round(m.sparsity, 3) for m in attachment.measure(z)] == [50, 25, 12.5]
        reads, _ = readers(network, (z,), {}, attachment.sites)
    assert [before for before, _ in reads.values()] == [[], [], []]


def test_official_networks_agree_with_their_adapter(tmp_path):
    """The dataflow finds what the table of the official codebase says."""
    code = """
import sys, json, torch
sys.path.insert(0, sys.argv[1])
from models.skip import skip
from models.unet import UNet
from sparse_plugin.network.encoders import detect
from sparse_plugin.patches.deep_image_prior import scales
wide = dict(num_channels_down=[8] * 3, num_channels_up=[8] * 3)
made = [skip(8, 3, num_channels_skip=s, pad=p, downsample_mode=d, **wide)
        for s in ([4] * 3, [0] * 3, [0, 0, 4]) for p in ("zero", "reflection")
        for d in (("stride", "avg", "max") if all(s) else ("stride",))]
made.append(UNet(8, 3, 16, upsample_mode="bilinear", norm_layer=torch.nn.BatchNorm2d))
print("\\n" + json.dumps([([s.site.path for s in detect(net, torch.rand(1, 8, 64, 64))], scales(net)) for net in made]))
"""
    folder = root("DmitryUlyanov+deep-image-prior")
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pairs = json.loads(done.stdout.splitlines()[-1])
    assert len(pairs) == 11 and all(found == told and found for found, told in pairs), pairs


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

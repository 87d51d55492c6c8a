"""Γ_1..Γ_K of encoder-decoders that other people published: nothing reads Γ as it was."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from encoder_decoders import image
from host_roots import root
from torch.overrides import TorchFunctionMode

import sparse_plugin
from sparse_plugin.projections.sizes import resolve_k


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

"""What the drivers share: a host on the CPU, measured from below its modules. None of it knows of the plugin."""

import functools
import hashlib
import importlib.abc
import importlib.util
import json
import os
import sys
import types
from unittest.mock import MagicMock

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STEPS = 3
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # for processes that the host starts
SAMPLING = os.environ.get("DRIVE_MODE") == "sample"


def start(*defaults, seed=0):
    """Put the host's import root, the first argument, on the path; the host's own arguments with defaults before them."""
    root = os.path.abspath(sys.argv[1])
    given = sys.argv[2:]
    sys.path.insert(0, root)
    sys.dont_write_bytecode = True  # the host's folder stays as it is
    os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # hosts' checkpoints older than torch 2.6
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)
    return root, [str(word) for word in defaults] + given


def no_cuda():
    """Whatever is sent to a GPU stays where it is."""

    def device(it):
        on_gpu = str(it).partition(":")[0] == "cuda" if isinstance(it, (str, torch.device)) else type(it) is int
        return torch.device("cpu") if on_gpu else it

    def keyword(function):
        @functools.wraps(function)
        def on_cpu(*args, **kwargs):
            if "device" in kwargs:
                kwargs["device"] = device(kwargs["device"])
            return function(*args, **kwargs)

        return on_cpu

    def first(function):
        @functools.wraps(function)
        def on_cpu(self, *args, **kwargs):
            return keyword(function)(self, *map(device, args[:1]), *args[1:], **kwargs)

        return on_cpu

    for owner in (torch.Tensor, nn.Module):
        owner.cuda = lambda self, *args, **kwargs: self
        owner.to = first(owner.to)
    for name in ("tensor", "zeros", "ones", "empty", "full", "rand", "randn", "randint", "randperm", "arange",
                 "linspace", "eye", "zeros_like", "ones_like"):  # fmt: skip
        setattr(torch, name, keyword(getattr(torch, name)))
    for name in ("Float", "Double", "Half", "Long", "Int", "Byte", "Bool"):
        setattr(torch.cuda, f"{name}Tensor", getattr(torch, f"{name}Tensor"))
    for name in ("manual_seed", "manual_seed_all", "synchronize", "empty_cache", "set_device"):
        setattr(torch.cuda, name, lambda *args, **kwargs: None)
    torch.cuda.current_device = lambda: 0
    torch.cuda.amp.autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    torch.cuda.amp.GradScaler = lambda: torch.amp.GradScaler("cpu")
    ddp = nn.parallel.DistributedDataParallel.__init__

    def without_devices(self, module, device_ids=None, output_device=None, *args, **kwargs):
        ddp(self, module, None, None, *args, **kwargs)

    nn.parallel.DistributedDataParallel.__init__ = without_devices
    nn.parallel.data_parallel = lambda module, inputs, *args, **kwargs: module(*inputs)


class _Stub(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock(name=name)
        setattr(self, name, value)
        return value


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        there = name.partition(".")[0] in self.names
        return importlib.util.spec_from_loader(name, self, is_package=True) if there else None

    def create_module(self, spec):
        return _Stub(spec.name)

    def exec_module(self, module):
        pass


def stub(*names, installed=False):
    """Modules that the host imports and training does not need, where they are not installed; with installed, there too."""
    sys.meta_path.insert(0 if installed else len(sys.meta_path), _Stubs(names))


def module(name, **members):
    """A module in place of one of the host's own, whatever is on the disk."""
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
    return made


class Probe:
    """Notes every convolution whose output has the image's shape, at torch.nn.functional: after all hooks.

    size: of the images' height or width; None is any size.
    """

    def __init__(self, size=32, channels=3):
        self.size, self.channels = size, channels
        self.calls = []
        self.watch("conv2d", lambda weight, groups: weight.shape[0])
        self.watch("conv_transpose2d", lambda weight, groups: weight.shape[1] * groups)

    def watch(self, name, out_channels):
        original = getattr(F, name)

        @functools.wraps(original)
        def watched(input, weight, *args, **kwargs):
            out = original(input, weight, *args, **kwargs)
            groups = kwargs.get("groups", args[4] if len(args) > 4 else 1)  # in the same place for both
            makes_image = out_channels(weight, groups) == self.channels * groups
            depthwise = groups == input.shape[1] and groups > 1
            if makes_image and not depthwise and (self.size is None or self.size in out.shape[2:]):
                kept = input.detach().as_subclass(torch.Tensor) != 0
                self.calls.append((kept.double().mean().item(), bool(out.requires_grad), list(input.shape)))
            return out

        setattr(F, name, watched)

    def report(self):
        """For every call: the share of non-zeros at the convolution's real input, and whether gradients were kept."""
        return {
            "calls": len(self.calls),
            "nonzeros": [nonzeros for nonzeros, _, _ in self.calls],
            "grad": [grad for _, grad, _ in self.calls],
            "shapes": sorted({tuple(shape) for _, _, shape in self.calls}),
        }


def digest(network):
    """Of a network's parameters, or of a list of arrays or words; what the plugin adds to a network is left out."""
    if network is None:
        return None
    if isinstance(network, nn.Module):
        named = [(name, p.detach().numpy()) for name, p in network.named_parameters() if "sparse_plugin" not in name]
    else:
        named = list(enumerate(map(np.asarray, network)))
    made = hashlib.sha256()
    for name, value in sorted(named, key=lambda pair: pair[0]):
        made.update(f"{name}{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return made.hexdigest()


def plain(images):
    """Images as an array, whatever class of tensor they are."""
    return images.detach().as_subclass(torch.Tensor).float().numpy().copy()


def write(**report):
    text = json.dumps(report, indent=1)
    path = os.environ.get("DRIVE_REPORT")
    if not path:
        print(text)
        return
    with open(path, "w") as f:
        f.write(text)

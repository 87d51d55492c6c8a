"""Three iterations of a deep-image-prior net by its own `optimize`, or, by DRIVE_MODE, a net loaded again, or many nets.

    DRIVE_REPORT=report.json python drive_dip.py ROOT [CASE]                    trains; saves net.pth
    DRIVE_MODE=sample DRIVE_REPORT=report.json python drive_dip.py ROOT [CASE]  loads net.pth, one image
    DRIVE_MODE=build DRIVE_REPORT=report.json python drive_dip.py ROOT CASES    builds, and runs each net once

CASE is JSON: {"net": "skip", "args": [...], "options": {...}, "input": [channels, height, width]}, and CASES a list of
them; either may be the name of a .json file. Nets: skip, get_net, UNet, ResNet, dcgan, get_texture_nets.

Of an encoder scale the density is seen at the first function that consumes it (`scales`), whatever hooks there are.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import drive_common as drive
import torch
import torch.nn.functional as F
from torch import nn

os.environ.setdefault("MPLBACKEND", "Agg")
MODULES = {"dcgan": "models.dcgan", "get_texture_nets": "models.texture_nets"}  # the rest are in `models`
DEFAULT = {
    "net": "skip",
    "args": [8, 3],
    "options": {
        "num_channels_down": [8, 8, 8], "num_channels_up": [8, 8, 8], "num_channels_skip": [4, 4, 4],
        "upsample_mode": "bilinear", "pad": "reflection",
    },
    "input": [8, 32, 32],
}  # fmt: skip


def build(case):
    """The net of a case, by the host's own function."""
    models = importlib.import_module(MODULES.get(case["net"], "models"))
    if case["net"] == "get_texture_nets":
        models.conv = _texture_conv
    options = dict(case.get("options", {}))
    for name in ("act_fun", "norm_layer"):
        if str(options.get(name)).startswith("nn."):
            options[name] = getattr(nn, options[name][3:])
    return getattr(models, case["net"])(*case.get("args", ()), **options)


def _texture_conv(in_f, out_f, kernel_size, stride=1, bias=True, pad="zero"):
    """With whole numbers for padding: the host's own cannot run."""
    to_pad = (kernel_size - 1) // 2
    if pad == "zero":
        return nn.Conv2d(in_f, out_f, kernel_size, stride, padding=to_pad, bias=bias)
    return nn.Sequential(nn.ReflectionPad2d(to_pad), nn.Conv2d(in_f, out_f, kernel_size, stride, bias=bias))


def scales(net):
    """Path of each encoder scale's output, from fine to coarse, with the path of the module that consumes it next."""
    if type(net).__name__ == "UNet":
        made = ["start", "down1", "down2", "down3", "down4"]
        made += [f"more_downs.{i}" for i in range(net.more_layers)]
        return list(zip(made, [*made[1:], "more_ups.0" if net.more_layers else "up4"], strict=True))
    made, prefix = [], ""
    while True:
        try:
            first = net.get_submodule(f"{prefix}1")
        except AttributeError:
            return made
        if type(first).__name__ not in ("Concat", "Sequential") or not hasattr(net, "add"):
            return made
        prefix += "1." if type(first).__name__ == "Sequential" else "1.1."
        deeper = net.get_submodule(prefix[:-1])
        if len(deeper) < 7 or not isinstance(deeper[0], nn.Sequential):
            return made
        made.append((f"{prefix}6", f"{prefix}7"))
        prefix += "7."


class Scales:
    """Notes the density of what the first function inside a module consumes, for a list of modules."""

    def __init__(self):
        self.seen, self.due = {}, []
        for owner, name in [(F, "conv2d"), (F, "conv_transpose2d"), (F, "pad"), (F, "interpolate"), (F, "max_pool2d")]:
            setattr(owner, name, self.watched(getattr(owner, name)))

    def watched(self, original):
        def noting(input, *args, **kwargs):
            for path in self.due:
                self.seen.setdefault(path, []).append(((input.detach() != 0).double().mean().item(), list(input.shape)))
            self.due.clear()
            return original(input, *args, **kwargs)

        return noting

    def watch(self, net):
        self.seen, self.due[:] = {}, []
        for path, consumer in scales(net):
            net.get_submodule(consumer).register_forward_pre_hook(lambda module, args, path=path: self.due.append(path))

    def report(self):
        return {path: {"nonzeros": [n for n, _ in seen], "shape": seen[-1][1]} for path, seen in self.seen.items()}


def main():
    _, argv = drive.start()
    mode = os.environ.get("DRIVE_MODE")
    text = argv[0] if argv else json.dumps(DEFAULT)
    given = json.loads(Path(text).read_text() if text.endswith(".json") else text)
    seen = Scales()
    if mode == "build":
        drive.write(host=sys.path[0], cases=[one(case, seen) for case in given])
        return
    common = importlib.import_module("utils.common_utils")
    importlib.import_module("models")
    channels, *size = given["input"]
    sides = None if given["net"] == "dcgan" else size[0]
    torch.manual_seed(0)
    net = build(given)
    seen.watch(net)
    z = common.get_noise(channels, "noise", size)
    with torch.no_grad():
        goal = torch.rand(1, 3, *size)
    losses, mse = [], nn.MSELoss()
    if drive.SAMPLING:
        net.load_state_dict(torch.load("net.pth"))
        probe = drive.Probe(sides)
        images = drive.plain(net(z))
    else:
        probe, images = drive.Probe(sides), None
        saved = z.clone()

        def closure():
            out = net(saved + torch.randn_like(saved) / 30)
            loss = mse(out, goal if out.shape == goal.shape else torch.zeros_like(out))
            loss.backward()
            losses.append(loss.item())
            return loss

        common.optimize("adam", common.get_params("net", net, z), closure, 0.01, drive.STEPS)
        torch.save(net.state_dict(), "net.pth")
    drive.write(
        host=sys.path[0], entry=given["net"], losses=losses, generator=drive.digest(net), ema=None,
        images=None if images is None else drive.digest(images), scales=seen.report(), **probe.report(),
    )  # fmt: skip


def one(case, seen):
    """What is found in one net that is built and run once."""
    torch.manual_seed(0)
    try:
        net = build(case)
    except Exception as error:
        return {"case": case, "error": f"{type(error).__name__}: {error}"}
    expected = scales(net)
    seen.watch(net)
    report = {"case": case, "error": None, "expected": [path for path, _ in expected]}
    report["modules"] = drive.digest([f"{name} {type(m).__name__}" for name, m in net.named_modules()
                                      if "sparse_plugin" not in name])  # fmt: skip
    try:
        with torch.no_grad():
            out = net(torch.rand(1, *case["input"]))
        report.update(output=list(out.shape), image=drive.digest(drive.plain(out)), scales=seen.report())
    except Exception as error:
        report["error"] = f"{type(error).__name__}: {error}"
    return report


if __name__ == "__main__":
    main()

"""Three generator steps of DiffAugment-stylegan2-pytorch by its own training_loop, or DRIVE_MODE=sample by generate.py.

    DRIVE_REPORT=report.json python drive_stylegan.py ROOT [--cfg=cifar --cond=1 and other flags of its train.py]

Training leaves run/network-snapshot-*.pkl, whose G and G_ema are what the digests are of; sampling unpickles it.
"""

import glob
import os
import sys
import types

import drive_common as drive
import numpy as np
import torch

BATCH = 4
root, argv = drive.start("--outdir=unused", "--data=data", "--metrics=none", "--cond=1", f"--batch={BATCH}")
drive.no_cuda()
drive.stub("requests")
drive.module("psutil", Process=lambda pid: types.SimpleNamespace(memory_info=lambda: types.SimpleNamespace(rss=0)))
sys.modules["torch.utils.tensorboard"] = None  # slow, and optional
event = types.SimpleNamespace(record=lambda *a: None, synchronize=lambda: None, elapsed_time=lambda other: 0.0)
torch.cuda.Event = lambda **how: event
for name in ("current_stream", "max_memory_allocated", "reset_peak_memory_stats"):
    setattr(torch.cuda, name, lambda *args: 0)
torch.Tensor.pin_memory = lambda self, *args: self
torch.utils.data.Sampler.__init__ = lambda self, *args: None  # it took the data set when the host was written
probe = drive.Probe()
losses = []


def images():
    """A data set as the host reads it: a folder with images and dataset.json."""
    import json

    from PIL import Image

    os.makedirs("data", exist_ok=True)
    names = [f"{i}.png" for i in range(16)]
    for i, name in enumerate(names):
        Image.fromarray(np.random.RandomState(i).randint(256, size=(32, 32, 3), dtype=np.uint8)).save(f"data/{name}")
    with open("data/dataset.json", "w") as f:
        json.dump({"labels": [[name, i % 10] for i, name in enumerate(names)]}, f)


def train():
    import train as host
    from torch_utils import misc, training_stats
    from training import training_loop

    images()
    options = host.main.make_context("train.py", argv).params
    for key in ("outdir", "dry_run"):
        options.pop(key)
    _, args = host.setup_training_loop_kwargs(**options)
    args.G_kwargs.update(z_dim=16, w_dim=16)
    args.G_kwargs.synthesis_kwargs.update(channel_base=512, channel_max=16, num_fp16_res=0)
    args.D_kwargs.update(channel_base=512, channel_max=16, num_fp16_res=0)
    args.D_kwargs.epilogue_kwargs.mbstd_group_size = 2
    args.data_loader_kwargs = {}
    args.update(total_kimg=drive.STEPS * BATCH / 1000, run_dir="run", network_snapshot_ticks=1)
    report = training_stats.report

    def noting(name, value):
        if name == "Loss/G/loss":
            losses.append(value.detach().mean().item())
        return report(name, value)

    training_stats.report = noting
    grid = training_loop.setup_snapshot_image_grid

    def small_grid(training_set, random_seed=0):
        _, pictures, labels = grid(training_set=training_set)
        return (2, 2), pictures[:4], labels[:4]

    training_loop.setup_snapshot_image_grid = small_grid
    summary = misc.print_module_summary

    def of_zeros(module, inputs, *args, **kwargs):
        for given in inputs:
            if given.ndim == 2:
                given.zero_()  # the host leaves in it whatever is in the memory, NaN included
        return summary(module, inputs, *args, **kwargs)

    misc.print_module_summary = of_zeros
    os.makedirs("run")
    host.subprocess_fn(rank=0, args=args, temp_dir=".")


def load():
    import dnnlib
    import legacy

    with dnnlib.util.open_url(max(glob.glob("run/*.pkl"), key=os.path.getmtime)) as f:
        return legacy.load_network_pkl(f)


def sample():
    import generate
    from PIL import Image

    network = max(glob.glob("run/*.pkl"), key=os.path.getmtime)
    given = ["--network", network, "--seeds=0-1", "--class=1", "--outdir=generated"]
    generate.generate_images(given, standalone_mode=False)
    return drive.digest([np.asarray(Image.open(f"generated/seed000{seed}.png")) for seed in range(2)])


if drive.SAMPLING:
    made = {"images": sample()}
else:
    train()
    nets = load()
    made = {"generator": drive.digest(nets["G"]), "ema": drive.digest(nets["G_ema"]), "images": None}
drive.write(host=root, entry="sample" if drive.SAMPLING else "train", losses=losses, **made, **probe.report())

"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

from pathlib import Path

import click
import dnnlib
import legacy
import numpy as np
import torch
from PIL import Image


@click.command()
@click.option("--network")
@click.option("--seeds")
@click.option("--class", "label", type=int)
@click.option("--outdir", type=Path)
def generate_images(network, seeds, label, outdir):
    with dnnlib.util.open_url(network) as file:
        net = legacy.load_network_pkl(file)["G_ema"]
    outdir.mkdir()
    first, last = map(int, seeds.split("-"))
    for seed in range(first, last + 1):
        z = np.random.RandomState(seed).randn(1, net.z_dim)  # float64
        made = net(torch.from_numpy(z), torch.eye(net.c_dim)[[label]], truncation_psi=0.7, noise_mode="const")
        pixels = (made[0].movedim(0, 2) + 1) * 127
        Image.fromarray(pixels.numpy().clip(0, 255).astype("uint8")).save(outdir / f"seed{seed:04}.png")

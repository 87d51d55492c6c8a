"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import os

import click
import dnnlib
import legacy
import numpy as np
import PIL.Image
import torch


def num_range(s):
    first, _, last = s.partition("-")
    return list(range(int(first), int(last) + 1)) if last else [int(x) for x in s.split(",")]


@click.command()
@click.pass_context
@click.option("--network", "network_pkl", required=True)
@click.option("--seeds", type=num_range)
@click.option("--trunc", "truncation_psi", type=float, default=1)
@click.option("--class", "class_idx", type=int)
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const")
@click.option("--outdir", type=str, required=True)
def generate_images(ctx, network_pkl, seeds, truncation_psi, noise_mode, outdir, class_idx):
    with dnnlib.util.open_url(network_pkl) as f:
        G = legacy.load_network_pkl(f)["G_ema"].to("cpu")
    os.makedirs(outdir, exist_ok=True)
    label = torch.zeros([1, G.c_dim])
    if G.c_dim != 0:
        label[:, class_idx] = 1
    for seed in seeds:
        z = torch.from_numpy(np.random.RandomState(seed).randn(1, G.z_dim))
        img = G(z, label, truncation_psi=truncation_psi, noise_mode=noise_mode)
        img = (img.permute(0, 2, 3, 1) * 127.5 + 128).clamp(0, 255).to(torch.uint8)
        PIL.Image.fromarray(img[0].numpy()).save(f"{outdir}/seed{seed:04d}.png")


if __name__ == "__main__":
    generate_images()

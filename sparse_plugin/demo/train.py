"""Train a narrow SNGAN on 32x32 crops of photographs: an ordinary script around torch_mimicry's own Trainer.

It knows nothing of sparse_plugin; `sparse-plugin run ... -- python train.py` adds a regularizer from outside.
"""

from __future__ import annotations

import argparse
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torch_mimicry.nets.sngan import SNGANDiscriminator32, SNGANGenerator32
from torch_mimicry.training import Trainer

# Colour photographs that lie in scikit-image's package itself: nothing is downloaded.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

# Crops of 32x32 are cut from every photograph at these heights: from parts of a scene to most of it.
HEIGHTS = (40, 56, 80, 112)


def photographs() -> list[torch.Tensor]:
    """Every photograph at every height: (3, height, width), values in [-1, 1]."""
    scaled = []
    for name in PHOTOGRAPHS:
        with files("skimage.data").joinpath(name).open("rb") as file:
            photograph = Image.open(file).convert("RGB")
        for height in HEIGHTS:
            width = round(photograph.width * height / photograph.height)
            pixels = np.asarray(photograph.resize((width, height), Image.Resampling.LANCZOS))
            scaled.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1)
    return scaled


def crops(count: int, seed: int) -> torch.Tensor:
    """Random crops, half of them mirrored: (count, 3, 32, 32)."""
    rng = np.random.default_rng(seed)
    scaled = photographs()
    images = torch.empty(count, 3, 32, 32)
    for image in images:
        photograph = scaled[rng.integers(len(scaled))]
        top, left = (int(rng.integers(side - 31)) for side in photograph.shape[1:])
        crop = photograph[:, top : top + 32, left : left + 32]
        image.copy_(crop.flip(2) if rng.integers(2) else crop)
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--log-dir", default="log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=32, help="channels of the generator and of the discriminator")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--crops", type=int, default=4096)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    images = crops(args.crops, args.seed)
    dataset = TensorDataset(images, torch.zeros(len(images)))
    netG = SNGANGenerator32(ngf=args.width)
    netD = SNGANDiscriminator32(ndf=args.width)
    interval = max(1, min(5, args.steps // 4))
    trainer = Trainer(
        netG=netG,
        netD=netD,
        optG=torch.optim.Adam(netG.parameters(), 4e-4, betas=(0.0, 0.9)),
        optD=torch.optim.Adam(netD.parameters(), 4e-4, betas=(0.0, 0.9)),
        n_dis=1,
        num_steps=args.steps,
        dataloader=DataLoader(dataset, batch_size=args.batch_size, shuffle=True, drop_last=True),
        log_dir=args.log_dir,
        device=torch.device("cpu"),
        print_steps=interval,
        log_steps=interval,
        vis_steps=args.steps,
    )
    trainer.train()


if __name__ == "__main__":
    main()

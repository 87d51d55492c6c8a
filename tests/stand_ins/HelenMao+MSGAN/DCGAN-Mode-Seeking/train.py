"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import os

import torch
from model import CDCGAN
from options import TrainOptions
from torch.utils.data import DataLoader, TensorDataset


def cifar10(count, seed=0):
    """Noise in place of the images on the disk."""
    source = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.rand(count, 3, 32, 32, generator=source), torch.arange(count) % 10)


def main():
    opts = TrainOptions().parse()
    batches = DataLoader(cifar10(opts.batch_size * 3), opts.batch_size, shuffle=True)
    gan = CDCGAN(opts)
    if opts.resume:
        gan.resume(opts.resume)
    else:
        gan.initialize()
    folder = os.path.join(opts.result_dir, opts.name)
    os.makedirs(folder, exist_ok=True)
    for epoch in range(opts.n_ep):
        for batch in batches:
            gan.update_D(*batch)
            gan.update_G()
        if epoch % opts.model_save_freq == 0:
            gan.save(f"{folder}/{epoch:05}.pth", epoch, (epoch + 1) * len(batches))

"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import torch
from model import CDCGAN
from options import TestOptions
from torch.utils.data import DataLoader
from train import cifar10


def main():
    opts = TestOptions().parse()
    gan = CDCGAN(opts).eval()
    gan.resume(opts.resume, train=False)
    with torch.no_grad():
        for _, label in DataLoader(cifar10(2, seed=1)):
            for _ in range(3):
                gan.test_forward(label)

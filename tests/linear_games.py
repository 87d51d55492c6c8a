"""Networks small enough for a GAN's losses to be followed by hand, in NumPy."""

import numpy as np
import torch
from torch import nn


def array(tensor):
    return tensor.detach().double().numpy()


def number(scalar):
    return float(scalar.detach())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class LinearGenerator(nn.Module):
    """Images of size x size from z and, if there are classes, a label; in [0, 1]."""

    def __init__(self, z, size, classes=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(z, 3 * size * size) / 3)
        self.classes = nn.Parameter(torch.randn(max(1, classes), 3 * size * size))
        self.size = size

    def forward(self, z, labels=None):
        h = z @ self.weight
        if labels is not None:
            h = h + self.classes[labels]
        return h.sigmoid().view(-1, 3, self.size, self.size)

"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text."""

import layers
import torch
from BigGAN import G_D, Discriminator  # noqa: F401
from torch import nn


class Generator(nn.Module):
    """Noise and class together are its input, and the condition of every block."""

    def __init__(self, *, G_activation, G_ch=64, dim_z=128, n_classes=10, G_lr=5e-5, no_optim=False, **others):
        super().__init__()
        width, given = 4 * G_ch, 2 * dim_z
        self.dim_z = dim_z
        self.shared = nn.Embedding(n_classes, dim_z)
        self.linear = nn.Linear(given, width * 4 * 4)
        self.blocks = nn.ModuleList(layers.GBlock(width, given, G_activation, (1, 3, 1)) for _ in range(3))
        to_image = layers.SNConv2d(width, 3, 3, padding=1)
        self.output_layer = nn.Sequential(nn.BatchNorm2d(width), G_activation, to_image)
        if not no_optim:
            self.optim = torch.optim.Adam(self.parameters(), G_lr, (0.0, 0.999))

    def forward(self, z, y):
        given = torch.cat((z, y), 1)
        maps = self.linear(given).reshape(len(z), -1, 4, 4)
        for block in self.blocks:
            maps = block(maps, given)
        return self.output_layer(maps).tanh()

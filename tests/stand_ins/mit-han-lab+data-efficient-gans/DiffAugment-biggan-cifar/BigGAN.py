"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import layers
import torch
from DiffAugment_pytorch import DiffAugment
from torch import nn


class Generator(nn.Module):
    """Its Adam is its own, and the activation object is everybody's."""

    def __init__(self, *, G_activation, G_ch=64, dim_z=128, n_classes=10, G_lr=5e-5, no_optim=False, **others):
        super().__init__()
        width = 4 * G_ch
        self.dim_z = dim_z
        self.shared = nn.Embedding(n_classes, dim_z)
        self.linear = nn.Linear(dim_z, width * 4 * 4)
        self.blocks = nn.ModuleList(layers.GBlock(width, dim_z, G_activation) for _ in range(3))
        to_image = layers.SNConv2d(width, 3, 3, padding=1)
        self.output_layer = nn.Sequential(nn.BatchNorm2d(width), G_activation, to_image)
        if not no_optim:
            self.optim = torch.optim.Adam(self.parameters(), G_lr, (0.0, 0.999))

    def forward(self, z, y):
        maps = self.linear(z).reshape(len(z), -1, 4, 4)
        for block in self.blocks:
            maps = block(maps, y)
        return self.output_layer(maps).tanh()


class Discriminator(nn.Module):
    def __init__(self, *, D_activation, D_ch=64, n_classes=10, D_lr=2e-4, **others):
        super().__init__()
        width = 4 * D_ch
        parts = [(layers.SNConv2d(seen, width, 3, padding=1), D_activation, nn.AvgPool2d(2)) for seen in (3, width)]
        self.features = nn.Sequential(*sum(parts, ()))
        self.linear, self.embed = nn.Linear(width, 1), nn.Embedding(n_classes, width)
        self.optim = torch.optim.Adam(self.parameters(), D_lr, (0.0, 0.999))

    def forward(self, x, y=None):
        seen = self.features(x).mean((2, 3))
        return self.linear(seen) + (seen * self.embed(y)).sum(1, keepdim=True)


class G_D(nn.Module):
    def __init__(self, G, D):
        super().__init__()
        self.G, self.D = G, D

    def forward(self, z, gy, x=None, dy=None, train_G=False, policy=""):
        with torch.enable_grad() if train_G else torch.no_grad():
            made = self.G(z, self.G.shared(gy))
        if x is None:
            return self.D(DiffAugment(made, policy), gy)
        images, labels = torch.cat((made, x)), torch.cat((gy, dy))
        return self.D(DiffAugment(images, policy), labels).tensor_split(2)

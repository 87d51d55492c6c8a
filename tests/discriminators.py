"""Small discriminators with the habits of real ones, importable so that they pickle and spawn."""

import torch
from torch import nn
from torch.nn import functional as F


def body(channels=8):
    return nn.Sequential(
        nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(channels, 2 * channels, 4, 2, 1), nn.LeakyReLU(0.2)
    )


class Plain(nn.Module):
    """DCGAN-like: a 4x4 convolution to one logit."""

    def __init__(self, channels=8):
        super().__init__()
        self.main = nn.Sequential(*body(channels), nn.Conv2d(2 * channels, 1, 4))

    def forward(self, x):
        return self.main(x).flatten()


class Patch(nn.Module):
    """PatchGAN-like: a map of logits."""

    def __init__(self):
        super().__init__()
        self.body, self.head = body(), nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x):
        return self.head(self.body(x))


class Pooled(nn.Module):
    """SNGAN-like: the sum over positions, then a linear head, in spectral norm."""

    def __init__(self, classes=0):
        super().__init__()
        self.body = body()
        self.activation = nn.ReLU(True)
        self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(16, 1))
        self.embed = nn.Embedding(classes, 16) if classes else None

    def forward(self, x, y=None):
        h = self.activation(self.body(x)).sum((2, 3))
        out = self.linear(h)
        if y is not None:
            out = out + (self.embed(y) * h).sum(1, keepdim=True)
        return torch.sigmoid(out)


class Shared(nn.Module):
    """BigGAN-like: one activation for all, so that no module hands on what head and embedding read."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.one, self.two = nn.Conv2d(3, 8, 4, 2, 1), nn.Conv2d(8, 16, 4, 2, 1)
        self.linear, self.embed = nn.Linear(16, 1), nn.Embedding(4, 16)

    def forward(self, x, y):
        h = self.act(self.two(self.act(self.one(x)))).sum((2, 3))
        return self.linear(h)[:, 0] + (self.embed(y) * h).sum(1)


class Auxiliary(nn.Module):
    """ACGAN-like: two heads read the same features, which are returned as well."""

    def __init__(self):
        super().__init__()
        self.body, self.pool = body(), nn.AdaptiveAvgPool2d(1)
        self.real, self.label = nn.Linear(16, 1), nn.Linear(16, 4)

    def forward(self, x):
        h = self.pool(self.body(x)).flatten(1)
        return {"h": h, "adv": self.real(h), "cls": self.label(h)}


class Projected(nn.Module):
    """Its head is a module that holds linear and embedding."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.embed = nn.Linear(16, 1), nn.Embedding(4, 16)

        def forward(self, h, y):
            return self.linear(h)[:, 0] + (self.embed(y) * h).sum(1)

    def __init__(self):
        super().__init__()
        self.body, self.head = body(), self.Head()

    def forward(self, x, y):
        return self.head(F.relu(self.body(x)).mean((2, 3)), y)


class Scales(nn.Module):
    """Several discriminators, each of another scale, with the features that each goes through."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(Patch() for _ in range(2))

    def forward(self, x):
        found = []
        for part in self.parts:
            features = part.body(x)
            found.append([features, part.head(features)])
            x = F.avg_pool2d(x, 2)
        return found


class UNet(nn.Module):
    """One score of the whole from the bottom, and a map of scores from behind it."""

    def __init__(self):
        super().__init__()
        self.body, self.bottom = body(), nn.Linear(16, 1)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 4, 4), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        h = self.body(x)
        return self.bottom(h.mean((2, 3))), self.out(F.relu(self.up(h)))


class Flat(nn.Module):
    """Linear layers alone."""

    def __init__(self, sides=16):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(3 * sides**2, 12), nn.LeakyReLU(0.2), nn.Linear(12, 1), nn.Sigmoid())

    def forward(self, x):
        return self.model(x)


class One(nn.Module):
    """No feature layer at all."""

    def __init__(self):
        super().__init__()
        self.only = nn.Conv2d(3, 1, 16)

    def forward(self, x):
        return self.only(x).flatten()


class Painter(nn.Module):
    """No discriminator: images of images."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


class Reader(nn.Module):
    """Neither: scores of words."""

    def __init__(self):
        super().__init__()
        self.words, self.score = nn.Embedding(9, 8), nn.Linear(8, 1)

    def forward(self, tokens):
        return self.score(self.words(tokens).mean(1))

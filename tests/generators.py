"""Small generators with the habits of real ones, importable so that they pickle and spawn."""

import torch
from torch import nn


class Plain(nn.Module):
    """DCGAN-like: transposed convolutions in a Sequential, a Tanh module at the end."""

    def __init__(self, channels=8):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(6, 2 * channels, 4, 1, 0, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * channels, channels, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
            nn.ConvTranspose2d(channels, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.main(z[:, :, None, None])


class Residual(nn.Module):
    """SNGAN-like: one in-place activation shared by all, a shortcut run after the convolutions, a functional tanh."""

    def __init__(self, channels=8):
        super().__init__()
        self.act = nn.ReLU(True)
        self.linear = nn.Linear(6, channels * 16)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(channels) for _ in range(3))
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.c2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z):
        x = self.linear(z).view(len(z), -1, 4, 4)
        h = nn.functional.interpolate(self.act(self.bn1(x)), scale_factor=2)
        h = self.c2(self.act(self.bn2(self.c1(h))))
        h = h + self.shortcut(nn.functional.interpolate(x, scale_factor=2))
        return torch.tanh(self.out(self.act(self.bn3(h))))


class Padded(nn.Module):
    """The head pads before it convolves: Γ is what comes before the padding."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(8, 3, 3))

    def forward(self, z):
        return self.head(torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8))))


class AttentionLast(nn.Module):
    """Attention registered last and run in the middle; an unused auxiliary head run last of all."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(6, 8, 3, padding=1)
        self.to_rgb = nn.Conv2d(8, 3, 1)
        self.auxiliary = nn.Conv2d(8, 1, 3, padding=1)
        self.attention = nn.Conv2d(8, 8, 1)

    def forward(self, z):
        h = torch.relu(self.first(z[:, :, None, None].expand(-1, -1, 8, 8)))
        h = h + self.attention(h)
        image = torch.tanh_(self.to_rgb(h))
        return image, self.auxiliary(h)


class TwoHeads(nn.Module):
    """A colour head times a mask head of the image's shape: nobody can tell which is the dictionary."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.colour = nn.Conv2d(8, 3, 3, padding=1)
        self.mask = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z):
        h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))
        return self.colour(h) * torch.sigmoid(self.mask(h))


class Domains(nn.Module):
    """A head for each of two domains."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.a, self.b = (nn.Conv2d(8, 3, 3, padding=1) for _ in range(2))

    def forward(self, z, second=False):
        gamma = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8)))
        return self.b(gamma) if second else self.a(gamma)


class Shuffled(nn.Module):
    """The last convolution makes 12 channels that a PixelShuffle lays out."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, z):
        h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))
        return nn.functional.pixel_shuffle(self.head(h), 2)


class Wavelets(Shuffled):
    """The last convolution makes the bands of an inverse Haar transform, as in SWAGAN."""

    def __init__(self):
        super().__init__()
        low, high = torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0])
        bands = torch.stack([a[:, None] * b for a in (low, high) for b in (low, high)]) / 2
        self.register_buffer("bands", bands[:, None].repeat(3, 1, 1, 1))

    def forward(self, z):
        h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))
        return nn.functional.conv_transpose2d(self.head(h), self.bands, stride=2, groups=3)


class Rearranged(Shuffled):
    """Blocks of pixels that are laid out by views."""

    def forward(self, z):
        h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))
        n, _, height, width = (blocks := self.head(h)).shape
        return blocks.view(n, 2, 2, 3, height, width).permute(0, 3, 4, 1, 5, 2).reshape(n, 3, 2 * height, 2 * width)


class Narrow(Shuffled):
    """Its last convolution makes one channel less than blocks of pixels have."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(8, 11, 3, padding=1)

    def forward(self, z):
        h = torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 4, 4)))
        blocks = self.head(h)
        return nn.functional.pixel_shuffle(torch.cat([blocks, blocks[:, :1]], 1), 2)


class Linear(nn.Module):
    """An MLP generator: no dictionary at all."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3 * 8 * 8))

    def forward(self, z):
        return self.model(z).view(-1, 3, 8, 8)


class Wrapped(nn.Module):
    """Its convolutions sit in wrappers that call `module.forward`, past every hook of the inner module."""

    class Norm(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module.forward(x)

    def __init__(self):
        super().__init__()
        self.body = self.Norm(nn.Conv2d(6, 8, 3, padding=1))
        self.last = self.Norm(nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, z):
        return self.last(torch.relu(self.body(z[:, :, None, None].expand(-1, -1, 8, 8))))


class Modulated(nn.Module):
    """StyleGAN-like: a learned constant, kernels in modules of its own, images of two resolutions summed."""

    class ToRGB(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, channels, 1, 1))

        def forward(self, x, w):
            return nn.functional.conv2d(x, self.weight * w.mean())

    def __init__(self):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.rgb4, self.rgb8 = self.ToRGB(8), self.ToRGB(8)

    def forward(self, z):
        x = self.const * z.mean(1)[:, None, None, None]
        image = self.rgb4(x, z)
        x = torch.relu(self.conv(nn.functional.interpolate(x, scale_factor=2)))
        return nn.functional.interpolate(image, scale_factor=2) + self.rgb8(x, z)


def noise(n=4, seed=0):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def consumed(generator, path, z):
    """What D1's convolution really consumes."""
    seen = []
    handle = generator.get_submodule(path).register_forward_hook(lambda m, args, out: seen.append(args[0].detach()))
    generator(z)
    handle.remove()
    return seen[-1]  # a first call may look before it runs


def fullest(module, run):
    """The most non-zeros of a needle that module is given, in every call of it."""
    seen = []
    handle = module.register_forward_hook(lambda m, args, out: seen.append(int((args[0] != 0).sum(1).max())))
    with handle:
        run()
    assert seen
    return max(seen)


def image():
    return torch.rand(2, 3, 16, 16)


# class, path of D1
DETECTED = [
    (Plain, "main.6"),
    (Residual, "out"),
    (Padded, "head"),
    (AttentionLast, "to_rgb"),
    (Wrapped, "last"),
    (Modulated, "rgb8"),
    (Shuffled, "head"),
    (Wavelets, "head"),
    (Rearranged, "head"),
]
REFUSED = [
    (TwoHeads, "2 convolutions make the image together"),
    (Narrow, "no convolution gives the image"),
    (Linear, "no module with a convolution kernel ran"),
]

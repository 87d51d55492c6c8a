"""Small encoder-decoders with the habits of real ones, each with the modules whose outputs are its Γ_1..Γ_K."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


def block(i, o, stride=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), nn.ReLU(True))


class Pooled(nn.Module):
    """All resizing is functional."""

    scales = ("one", "two", "three")

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = block(3, 6), block(6, 8), block(8, 10)
        self.up_two, self.up_one, self.out = block(18, 8), block(14, 6), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        x = self.three(F.avg_pool2d(two, 2))
        x = self.up_two(torch.cat([F.interpolate(x, size=two.shape[2:]), two], 1))
        return self.out(self.up_one(torch.cat([F.interpolate(x, scale_factor=2.0, mode="bilinear"), one], 1)))


class Strided(nn.Module):
    """Scales begin with a convolution of stride 2, and skips run through convolutions, as in Deep Image Prior."""

    scales = ("down.0", "down.1")

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([block(3, 8, 2), block(8, 8, 2)])
        self.beside = nn.ModuleList([block(3, 2), block(8, 2)])
        self.up = nn.ModuleList([block(10, 8), block(10, 8)])
        self.enlarge, self.out = nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 3, 1)

    def forward(self, z):
        one = self.down[0](z)
        two = self.down[1](one)
        x = self.up[1](torch.cat([self.beside[1](one), self.enlarge(two)], 1))
        return self.out(self.up[0](torch.cat([self.beside[0](z), self.enlarge(x)], 1)))


class Shuffled(nn.Module):
    """Space to depth by views and back by a PixelShuffle; squeeze and excitation, and attention at the coarsest scale."""

    scales = ("one", "attend")

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 1)

        def forward(self, x):
            n, c, h, w = x.shape
            q, k, v = (t.reshape(n, 2, 4, h * w).transpose(2, 3) for t in self.qkv(x).chunk(3, 1))
            mixed = F.scaled_dot_product_attention(q, k, v) + torch.softmax(q @ k.transpose(2, 3), -1) @ v
            return x + self.out(mixed.transpose(2, 3).reshape(n, c, h, w))

    def __init__(self):
        super().__init__()
        self.one, self.two, self.gate = block(3, 6), block(24, 8), nn.Linear(8, 8)
        self.attend = self.Attention()
        self.up = nn.Sequential(nn.Conv2d(8, 24, 1), nn.PixelShuffle(2))
        self.out = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        n, _, h, w = x.shape
        one = self.one(x)
        folded = one.view(n, 6, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 24, h // 2, w // 2)
        two = self.two(folded)
        two = two * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(two, 1).flatten(1)))[:, :, None, None]
        return self.out(one + self.up(self.attend(two)))


class PreActivation(nn.Module):
    """The skip takes what the next scale normalises and activates first, in a residual block that shrinks."""

    scales = ("first", "down")

    class Down(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv, self.short = nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, 2, 1), nn.Conv2d(6, 8, 1)

        def forward(self, x):
            return self.conv(F.silu(self.norm(x))) + self.short(F.avg_pool2d(x, 2))

    def __init__(self):
        super().__init__()
        self.first, self.down = block(3, 6), self.Down()
        self.up, self.out = nn.ConvTranspose2d(8, 6, 2, 2), nn.Conv2d(12, 3, 1)

    def forward(self, x):
        one = self.first(x)
        return self.out(torch.cat([one, self.up(self.down(one))], 1))


class BeforeTheSkip(nn.Module):
    """As in DRUNet: blocks of a scale stand before its skip's next scale, sums join the skips, also the coarsest."""

    scales = ("head", "down")

    def __init__(self):
        super().__init__()
        self.head, self.down = nn.Conv2d(3, 6, 3, 1, 1), nn.Sequential(block(6, 6), nn.Conv2d(6, 8, 2, 2))
        self.body, self.up, self.tail = block(8, 8), nn.ConvTranspose2d(8, 6, 2, 2), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        one = self.head(x)
        two = self.down(one)
        return self.tail(one + self.up(two + self.body(two)))


class InPlace(nn.Module):
    """As in pix2pix: a level's first activation changes in place what its skip concatenates."""

    scales = ("model.0", "model.1.model.2")

    class Level(nn.Module):
        def __init__(self, i, o, inside=()):
            super().__init__()
            down = [nn.LeakyReLU(0.2, True), nn.Conv2d(i, o, 4, 2, 1)]
            up = [nn.ReLU(True), nn.ConvTranspose2d(2 * o if inside else o, i, 4, 2, 1)]
            self.model = nn.Sequential(*down, *inside, *up)

        def forward(self, x):
            return torch.cat([x, self.model(x)], 1)

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 6, 4, 2, 1), self.Level(6, 8), nn.ConvTranspose2d(12, 3, 4, 2, 1))

    def forward(self, x):
        return self.model(x)


class Autoencoder(nn.Module):
    """No skips, three dimensions, padding modules before the strided convolutions."""

    scales = ("encode.2", "encode.5")

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(
            *(nn.ConstantPad3d(1, 0.0), nn.Conv3d(1, 4, 3, 2), nn.ReLU(True)),
            *(nn.ConstantPad3d(1, 0.0), nn.Conv3d(4, 6, 3, 2), nn.ReLU()),
        )
        self.decode = nn.Sequential(
            nn.ConvTranspose3d(6, 4, 2, 2), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv3d(4, 1, 3, 1, 1)
        )

    def forward(self, x):
        code = self.encode[5](self.encode[4](self.encode[3](self.encode[2](self.encode[1](self.encode[0](x))))))
        return self.decode(code)


class MadeBetween(Pooled):
    """What the next scale and the skip read is made by the network's own code."""

    def forward(self, x):
        one = self.one(x)
        one = one + torch.tanh(one)
        return self.out(
            self.up_one(torch.cat([F.interpolate(self.two(F.max_pool2d(one, 2)), scale_factor=2.0), one], 1))
        )


class Leaked(nn.Module):
    """A module keeps what it returns, and the decoder takes it from there."""

    class Down(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, 1, 1)

        def forward(self, x):
            self.kept = self.conv(x)
            return self.kept

    def __init__(self):
        super().__init__()
        self.one = self.Down()
        self.two, self.out = block(6, 6), nn.Conv2d(12, 3, 1)

    def forward(self, x):
        x = F.interpolate(self.two(F.max_pool2d(self.one(x), 2)), scale_factor=2.0)
        return self.out(torch.cat([x, self.one.kept], 1))


class Tokens(nn.Module):
    """Patches become tokens, which are merged as tokens."""

    def __init__(self):
        super().__init__()
        self.embed, self.merge = nn.Conv2d(3, 8, 2, 2), nn.Linear(32, 8)
        self.up, self.out = nn.ConvTranspose2d(8, 8, 4, 4), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.embed(x).permute(0, 2, 3, 1)
        x = self.merge(torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1))
        return self.out(self.up(x.permute(0, 3, 1, 2)))


class Flat(nn.Module):
    """A denoiser of one scale."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(block(3, 6), nn.Conv2d(6, 3, 3, 1, 1))

    def forward(self, x):
        return self.body(x)


class Classifier(Flat):
    """Shrinks only."""

    def forward(self, x):
        return F.avg_pool2d(self.body(x), 2)


class Grown(nn.Module):
    """A network of a given shape, for random ones.

    depth: its scales. shrink, grow: how. skips: which scales have one. functional: whether resizing has no modules.
    """

    def __init__(self, depth, shrink, grow, skips, functional):
        super().__init__()
        self.shrink, self.grow, self.skips, self.functional = shrink, grow, skips, functional
        channels = [3, *(4 + 2 * k for k in range(depth))]
        self.encode = nn.ModuleList(block(i, o) for i, o in pairwise(channels))
        strided = [nn.Conv2d(c, c, 2, 2) for c in channels[1:-1]]
        self.down = nn.ModuleList(
            {
                "conv": strided,
                "max": [nn.MaxPool2d(2)] * len(strided),
                "unshuffle": [self._unshuffle(c) for c in channels[1:-1]],
            }[shrink]
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(c, c, 2, 2) if grow == "conv" else nn.Upsample(scale_factor=2) for c in channels[2:]
        )
        self.decode = nn.ModuleList(
            block(o + (i if skip else 0), i) for i, o, skip in zip(channels[1:], channels[2:], skips, strict=False)
        )
        self.out = nn.Conv2d(channels[1], 3, 1)
        self.scales = tuple(f"encode.{k}" for k in range(depth))

    @staticmethod
    def _unshuffle(c):
        return nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * c, c, 1))

    def forward(self, x):
        kept = []
        for k, encode in enumerate(self.encode):
            if k:
                x = F.max_pool2d(x, 2) if self.functional and self.shrink == "max" else self.down[k - 1](x)
            x = encode(x)
            kept.append(x)
        for k in reversed(range(len(self.decode))):
            x = F.interpolate(x, scale_factor=2.0) if self.functional and self.grow != "conv" else self.up[k](x)
            x = self.decode[k](torch.cat([x, kept[k]], 1) if self.skips[k] else x)
        return self.out(x)


def image(size=16, channels=3, n=2, dimensions=2, seed=0):
    return torch.randn(n, channels, *[size] * dimensions, generator=torch.Generator().manual_seed(seed))


# class, input
FOUND = [
    *((kind, image()) for kind in (Pooled, Strided, Shuffled, PreActivation, BeforeTheSkip, InPlace)),
    (Autoencoder, image(8, 1, dimensions=3)),
]
# class, input, the reason
REFUSED = [
    (MadeBetween, image(), r"Γ_1 of MadeBetween, 6x16x16, is made in its own code by `add`.*sites=\[\"one:output\", \"two:output\"\]"),
    (Leaked, image(), "Γ_1 of Leaked, 6x16x16, is the output of one, but `cat` in the network itself reads it past"),
    (Tokens, image(), "Tokens changes the scale of tokens, in up"),
    (Flat, image(), "Flat never shrinks its input"),
    (Classifier, image(), "Classifier never enlarges"),
]  # fmt: skip

"""Generators that grow, and what each of their heads consumes."""

import torch
from torch import nn


class Grown(nn.Module):
    """Another head at every depth; `how` the depth is said, and what is faded in."""

    def __init__(self, depths=3, fade=None):
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(depths - 1))
        self.rgb = nn.ModuleList(nn.Conv2d(8, 3, 1) for _ in range(depths))
        self.depth, self.fade = 0, fade

    def forward(self, x, depth=None, noise=False):
        depth = self.depth if depth is None else depth
        x = torch.relu(self.norm(self.first(x)))
        image = None
        for level in range(depth):
            before, x = x, nn.functional.interpolate(x, scale_factor=2)
            if noise:
                x = x + 0.1 * torch.randn_like(x)
            if level == depth - 1 and self.fade == "image":
                image = nn.functional.interpolate(self.rgb[level](before), scale_factor=2)
            if level == depth - 1 and self.fade == "features":
                image = self.rgb[level](x)
            if self.fade == "skip":
                image = nn.functional.interpolate(
                    self.rgb[level](before) if image is None else image + self.rgb[level](before), scale_factor=2
                )
            x = torch.relu(self.blocks[level](x))
        new = self.rgb[depth](x)
        return new if image is None else 0.5 * new + 0.5 * image


def fullest(generator, call, heads=None):
    """The fullest needle that each head consumes in one call."""
    seen = {}
    watched = heads or [(f"rgb.{i}", head) for i, head in enumerate(generator.rgb)]
    handles = [
        head.register_forward_hook(lambda m, a, out, name=name: seen.update({name: int((a[0] != 0).sum(1).max())}))
        for name, head in watched
    ]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def latent(n=2):
    return torch.randn(n, 4, 4, 4)


def train_step(generator, *args, **kwargs):
    optimizer = torch.optim.SGD(generator.parameters(), 0.1)
    generator(*args, **kwargs).square().mean().backward()
    optimizer.step()

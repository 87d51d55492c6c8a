"""Heads that are added, or put in the place of another, after the generator was attached."""

import copy

import pytest
import torch
from generators import Residual
from growing import fullest, latent, train_step
from torch import nn

import sparse_plugin
from sparse_plugin.errors import SiteError

K = 2


class Appended(nn.Module):
    """Grows by modules that do not exist before, as pytorch_GAN_zoo's does."""

    def __init__(self):
        super().__init__()
        self.blocks, self.rgb = nn.ModuleList(), nn.ModuleList()
        self.add()

    def add(self):
        self.blocks.append(nn.Sequential(nn.Conv2d(8 if len(self.blocks) else 4, 8, 3, padding=1), nn.ReLU()))
        self.rgb.append(nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(8, 3, 3)))

    def forward(self, x):
        old = None
        for block, rgb in zip(self.blocks, self.rgb, strict=True):
            x = nn.functional.interpolate(x, scale_factor=2)
            old, x = rgb(x) if x.shape[1] == 8 else None, block(x)
        new = self.rgb[-1](x)
        return new if old is None else new + old


@pytest.mark.parametrize("copied", [False, True])
def test_modules_added_later(copied):
    generator = Appended()
    sparse_plugin.attach(generator, "l0_inf", k=K, example_input=latent())
    if copied:
        generator = copy.deepcopy(generator)
        generator(latent())
    for _ in range(2):
        generator.add()
        for _ in range(2):
            convolution = ("last", generator.rgb[-1][1])
            assert fullest(generator, lambda: train_step(generator, latent()), [convolution])["last"] <= K


@pytest.mark.parametrize("regularizer", ["l0_inf", "l0"])
def test_a_replaced_head(regularizer):
    generator = Residual()
    attachment = sparse_plugin.attach(generator, regularizer, k=K)
    z = torch.randn(2, 6)
    generator(z)
    generator.out = nn.Conv2d(8, 3, 1)
    assert fullest(generator, lambda: generator(z), [("out", generator.out)])["out"] <= K
    assert len(attachment.sites) == 1
    generator._modules["out"] = nn.Conv2d(8, 3, 5, padding=2)  # past every hook of torch's own
    with pytest.raises(SiteError, match=r"made an image without going through.*sites=\["):
        generator(z)


def test_a_replaced_head_where_forward_is_called_directly():
    generator = Residual()
    sparse_plugin.attach(generator, "l0_inf", k=K)
    z = torch.randn(2, 6)
    generator.forward(z)
    generator.out = nn.Conv2d(8, 3, 1)
    with pytest.raises(SiteError, match="which module makes it cannot be told.*sites="):
        generator.forward(z)

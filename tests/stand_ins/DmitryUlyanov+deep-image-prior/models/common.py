"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from functools import partial

import torch
from torch import nn

from .downsampler import Downsampler


def add_module(self, module):
    self.register_module(f"{len(self) + 1}", module)


nn.Module.add = add_module  # for every module of the process, and children count from 1


class Concat(nn.Module):
    """Its children count from 0, and are cropped about their centres to the smallest."""

    def __init__(self, dim, *args):
        super().__init__()
        self.dim = dim
        self._modules.update((f"{number}", branch) for number, branch in enumerate(args))

    def __len__(self):
        return len(list(self.children()))

    def forward(self, input):
        made = [branch(input) for branch in self.children()]
        for axis in (2, 3):
            least = min(image.shape[axis] for image in made)
            made = [image.narrow(axis, (image.shape[axis] - least) // 2, least) for image in made]
        return torch.cat(made, self.dim)


class Swish(nn.Module):
    def __init__(self):
        super().__init__()
        self.s = nn.Sigmoid()

    def forward(self, x):
        return self.s(x).mul(x)


def act(act_fun="LeakyReLU"):
    named = {"LeakyReLU": partial(nn.LeakyReLU, 0.2, True), "Swish": Swish, "ELU": nn.ELU, "none": nn.Sequential}
    return named.get(act_fun, act_fun)()  # a class, too


def bn(channels):
    return nn.BatchNorm2d(channels)


def conv(in_f, out_f, kernel_size, stride=1, bias=True, pad="zero", downsample_mode="stride"):
    """A Sequential of padding, if by reflection, the convolution, and what shrinks, if its stride does not."""
    margin = (kernel_size - 1) // 2
    around = [nn.ReflectionPad2d(margin)] if pad == "reflection" else []
    after = []
    if stride > 1 and downsample_mode != "stride":
        pools = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
        if downsample_mode in pools:
            after = [pools[downsample_mode](stride)]
        else:
            after = [Downsampler(out_f, stride, downsample_mode, phase=0.5, preserve_size=True)]
    step = 1 if after else stride
    return nn.Sequential(*around, nn.Conv2d(in_f, out_f, kernel_size, step, 0 if around else margin, bias=bias), *after)

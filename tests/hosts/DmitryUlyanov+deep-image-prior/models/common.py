"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

import torch
from torch import nn

from .downsampler import Downsampler


def add_module(self, module):
    self.add_module(str(len(self) + 1), module)


torch.nn.Module.add = add_module  # for every module of the process, and children count from 1


class Concat(nn.Module):
    def __init__(self, dim, *args):
        super().__init__()
        self.dim = dim
        for idx, module in enumerate(args):
            self.add_module(str(idx), module)

    def forward(self, input):
        made = [module(input) for module in self._modules.values()]
        height, width = (min(x.shape[side] for x in made) for side in (2, 3))
        tops = [(x, (x.shape[2] - height) // 2, (x.shape[3] - width) // 2) for x in made]
        return torch.cat([x[:, :, i : i + height, j : j + width] for x, i, j in tops], dim=self.dim)

    def __len__(self):
        return len(self._modules)


class GenNoise(nn.Module):
    def __init__(self, dim2):
        super().__init__()
        self.dim2 = dim2

    def forward(self, input):
        return torch.randn(input.size(0), self.dim2, *input.shape[2:]).type_as(input)


class Swish(nn.Module):
    def __init__(self):
        super().__init__()
        self.s = nn.Sigmoid()

    def forward(self, x):
        return x * self.s(x)


def act(act_fun="LeakyReLU"):
    if not isinstance(act_fun, str):
        return act_fun()
    made = {"LeakyReLU": lambda: nn.LeakyReLU(0.2, inplace=True), "Swish": Swish, "ELU": nn.ELU, "none": nn.Sequential}
    return made[act_fun]()


def bn(num_features):
    return nn.BatchNorm2d(num_features)


def conv(in_f, out_f, kernel_size, stride=1, bias=True, pad="zero", downsample_mode="stride"):
    layers = []
    to_pad = (kernel_size - 1) // 2
    if pad == "reflection":
        layers.append(nn.ReflectionPad2d(to_pad))
        to_pad = 0
    by_pooling = stride != 1 and downsample_mode != "stride"
    layers.append(nn.Conv2d(in_f, out_f, kernel_size, 1 if by_pooling else stride, padding=to_pad, bias=bias))
    if by_pooling and downsample_mode == "avg":
        layers.append(nn.AvgPool2d(stride, stride))
    elif by_pooling and downsample_mode == "max":
        layers.append(nn.MaxPool2d(stride, stride))
    elif by_pooling:
        assert downsample_mode in ["lanczos2", "lanczos3"]
        layers.append(
            Downsampler(n_planes=out_f, factor=stride, kernel_type=downsample_mode, phase=0.5, preserve_size=True)
        )
    return nn.Sequential(*layers)

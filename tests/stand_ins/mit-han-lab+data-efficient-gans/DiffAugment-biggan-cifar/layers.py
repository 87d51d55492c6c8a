"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn


class SNConv2d(nn.Conv2d):
    """Divides its kernel by an estimate of the largest singular value, which a buffer carries from call to call."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("u0", torch.randn(self.out_channels))

    def W_(self):
        rows = self.weight.flatten(1)
        with torch.no_grad():
            right = F.normalize(self.u0 @ rows, dim=0)
            left = F.normalize(rows @ right, dim=0)
            if self.training:
                self.u0.copy_(left)
        return self.weight / (left @ rows @ right)

    def forward(self, x):
        return F.conv2d(x, self.W_(), self.bias, padding=self.padding)


class ccbn(nn.Module):
    """A batch norm whose gain and bias the condition gives."""

    def __init__(self, output_size, input_size):
        super().__init__()
        self.plain = nn.BatchNorm2d(output_size, affine=False)
        self.given = nn.Linear(input_size, 2 * output_size)

    def forward(self, x, y):
        gain, bias = self.given(y)[:, :, None, None].chunk(2, 1)
        return self.plain(x) * (1 + gain) + bias


class GBlock(nn.Module):
    """Doubles the size, and adds convolutions of the given sizes to that."""

    def __init__(self, channels, condition, activation, sizes=(3, 3)):
        super().__init__()
        self.nonlinear = activation
        self.norms = nn.ModuleList(ccbn(channels, condition) for _ in sizes)
        self.convs = nn.ModuleList(SNConv2d(channels, channels, size, padding=size // 2) for size in sizes)

    def forward(self, x, y):
        large = change = F.interpolate(x, scale_factor=2)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            change = conv(self.nonlinear(norm(change, y)))
        return large + change

"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

import torch
from torch import nn


class Downsampler(nn.Module):
    """Ends in a dense convolution of its own, with parameters that are trained. Its window is Hann's, for Lanczos'."""

    def __init__(
        self, n_planes, factor, kernel_type, phase=0, kernel_width=None, support=None, sigma=None, preserve_size=False
    ):
        super().__init__()
        width = {"lanczos2": 4, "lanczos3": 6}[kernel_type] * factor + (phase == 0)
        window = torch.hann_window(width + 2, periodic=False)[1:-1]
        self.downsampler_ = nn.Conv2d(n_planes, n_planes, width, factor)
        nn.init.zeros_(self.downsampler_.bias)
        each = torch.eye(n_planes)[:, :, None, None]
        self.downsampler_.weight.data = each * (window[:, None] * window / window.sum() ** 2)
        self.padding = nn.ReplicationPad2d((width - factor) // 2 if preserve_size else 0)

    def forward(self, input):
        return self.downsampler_(self.padding(input))

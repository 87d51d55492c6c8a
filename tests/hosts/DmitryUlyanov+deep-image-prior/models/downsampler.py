"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

import torch
from torch import nn


class Downsampler(nn.Module):
    """Ends in a dense convolution of its own, with parameters that are trained."""

    def __init__(
        self, n_planes, factor, kernel_type, phase=0, kernel_width=None, support=None, sigma=None, preserve_size=False
    ):
        super().__init__()
        width = {"lanczos2": 4, "lanczos3": 6}[kernel_type] * factor + (phase == 0)
        hat = torch.hann_window(width + 2, periodic=False)[1:-1]
        self.kernel = (hat[:, None] * hat / hat.sum() ** 2).numpy()
        self.downsampler_ = nn.Conv2d(n_planes, n_planes, kernel_size=self.kernel.shape, stride=factor, padding=0)
        self.downsampler_.weight.data[:] = 0
        self.downsampler_.bias.data[:] = 0
        for i in range(n_planes):
            self.downsampler_.weight.data[i, i] = torch.from_numpy(self.kernel)
        self.preserve_size = preserve_size
        if preserve_size:
            self.padding = nn.ReplicationPad2d((width - 1) // 2 if width % 2 else (width - factor) // 2)

    def forward(self, input):
        self.x = self.padding(input) if self.preserve_size else input
        return self.downsampler_(self.x)

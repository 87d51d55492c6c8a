"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import torch
from torch import nn
from torch.nn import functional as F


class _Net(nn.Module):
    def weight_init(self):
        # Whatever child has such a class, and a wrapper in a convolution's place is passed over.
        for child in self.children():
            if type(child).__name__.startswith("Conv"):
                nn.init.normal_(child.weight, std=0.02)


class generator(_Net):
    def __init__(self, opts, d=16):
        super().__init__()
        self.layers, before = 4, opts.nz + opts.class_num
        for i, width in enumerate((d * 4, d * 2, d, 3), 1):
            setattr(self, f"deconv{i}", nn.ConvTranspose2d(before, width, 4, min(i, 2), int(i > 1)))
            if i < self.layers:
                setattr(self, f"deconv{i}_bn", nn.BatchNorm2d(width))
            before = width

    def forward(self, input, label):
        h = torch.cat((input[:, :, None, None], label), dim=1)
        for i in range(1, self.layers):
            h = F.relu(getattr(self, f"deconv{i}_bn")(getattr(self, f"deconv{i}")(h)))
        return self.deconv4(h).tanh()


class discriminator(_Net):
    def __init__(self, opts, d=16):
        super().__init__()
        self.conv1 = nn.Conv2d(opts.class_num + 3, d, 4, 4)
        self.conv2 = nn.Conv2d(d, 1, 8)

    def forward(self, input, label):
        planes = label.repeat(1, 1, *input.shape[2:])
        seen = F.leaky_relu(self.conv1(torch.cat((planes, input), dim=1)), 0.2)
        return self.conv2(seen).sigmoid().flatten()

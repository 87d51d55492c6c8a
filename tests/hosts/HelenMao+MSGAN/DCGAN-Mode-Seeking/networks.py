"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import torch
from torch import nn

# Width of the real nets is 128; here it is the default of their argument d, as there.


class generator(nn.Module):
    def __init__(self, opts, d=16):
        super().__init__()
        self.deconv1 = nn.ConvTranspose2d(opts.nz + opts.class_num, d * 4, 4, 1, 0)
        self.deconv1_bn = nn.BatchNorm2d(d * 4)
        self.relu1 = nn.ReLU()
        self.deconv2 = nn.ConvTranspose2d(d * 4, d * 2, 4, 2, 1)
        self.deconv2_bn = nn.BatchNorm2d(d * 2)
        self.relu2 = nn.ReLU()
        self.deconv3 = nn.ConvTranspose2d(d * 2, d, 4, 2, 1)
        self.deconv3_bn = nn.BatchNorm2d(d)
        self.relu3 = nn.ReLU()
        self.deconv4 = nn.ConvTranspose2d(d, 3, 4, 2, 1)
        self.tanh = nn.Tanh()

    def weight_init(self):
        for m in self._modules:
            gaussian_weights_init(self._modules[m])

    def forward(self, input, label):
        x = torch.cat([input.unsqueeze(2).unsqueeze(3), label], 1)
        x = self.relu1(self.deconv1_bn(self.deconv1(x)))
        x = self.relu2(self.deconv2_bn(self.deconv2(x)))
        x = self.relu3(self.deconv3_bn(self.deconv3(x)))
        return self.tanh(self.deconv4(x))


class discriminator(nn.Module):
    def __init__(self, opts, d=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3 + opts.class_num, d, 4, 2, 1)
        self.lrelu1 = nn.LeakyReLU(0.2)
        self.conv2 = nn.Conv2d(d, d * 2, 4, 2, 1)
        self.conv2_bn = nn.BatchNorm2d(d * 2)
        self.lrelu2 = nn.LeakyReLU(0.2)
        self.conv4 = nn.Conv2d(d * 2, 1, 8, 1, 0)
        self.sigmoid = nn.Sigmoid()

    def weight_init(self):
        for m in self._modules:
            gaussian_weights_init(self._modules[m])

    def forward(self, input, label):
        label = label.expand(*label.shape[:2], *input.shape[2:])
        x = self.lrelu1(self.conv1(torch.cat([input, label], 1)))
        return self.sigmoid(self.conv4(self.lrelu2(self.conv2_bn(self.conv2(x)))))


def gaussian_weights_init(m):
    # By the name of the class: a wrapper in place of a convolution would not be initialised.
    if m.__class__.__name__.find("Conv") == 0:
        m.weight.data.normal_(0.0, 0.02)

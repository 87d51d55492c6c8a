"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn


def dcgan(
    inp=2, ndf=32, num_ups=4, need_sigmoid=True, need_bias=True, pad="zero", upsample_mode="nearest", need_convT=True
):
    layers = [nn.ConvTranspose2d(inp, ndf, kernel_size=3, stride=1, padding=0, bias=False)]
    layers += [nn.BatchNorm2d(ndf), nn.LeakyReLU(True)]  # a slope of 1: linear
    for _ in range(num_ups - 3):
        if need_convT:
            layers += [nn.ConvTranspose2d(ndf, ndf, kernel_size=4, stride=2, padding=1, bias=False)]
        else:
            layers += [nn.Upsample(scale_factor=2, mode=upsample_mode)]
            layers += [nn.Conv2d(ndf, ndf, kernel_size=3, stride=1, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(ndf), nn.LeakyReLU(True)]
    if need_convT:
        layers += [nn.ConvTranspose2d(ndf, 3, 4, 2, 1, bias=False)]
    else:
        layers += [nn.Upsample(scale_factor=2, mode="bilinear")]
        layers += [nn.Conv2d(ndf, 3, kernel_size=3, stride=1, padding=1, bias=False)]
    return nn.Sequential(*layers, *([nn.Sigmoid()] if need_sigmoid else []))

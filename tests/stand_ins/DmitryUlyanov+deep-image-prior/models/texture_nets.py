"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .common import Concat, act


def conv(in_f, out_f, kernel_size, stride=1, bias=True, pad="zero"):
    # A float for padding, which torch refuses in forward, as in the real code.
    return nn.Conv2d(in_f, out_f, kernel_size, stride, (kernel_size - 1) / 2, bias=bias)


def get_texture_nets(
    inp=3, ratios=[32, 16, 8, 4, 2, 1], fill_noise=False, pad="zero", need_sigmoid=False, conv_num=8,  # noqa: B006
    upsample_mode="nearest",
):  # fmt: skip
    assert not fill_noise and not need_sigmoid, "the stand-in has neither"

    def extend(network, before, after):
        for channels, kernel_size in ((before, 3), (after, 3), (after, 1)):
            network.add(conv(channels, after, kernel_size, pad=pad))
            network.add(nn.BatchNorm2d(after))
            network.add(act())

    merged = None
    for number, ratio in enumerate(ratios, 1):
        width, branch = number * conv_num, nn.Sequential()
        branch.add(nn.AvgPool2d(ratio))
        extend(branch, inp, conv_num)
        if merged is not None:  # beside the coarser ones
            merged.add(nn.BatchNorm2d(width - conv_num))
            branch.add(nn.BatchNorm2d(conv_num))
            coarser, branch = Concat(1, merged, branch), nn.Sequential()
            branch.add(coarser)
            extend(branch, width, width)
        branch.add(nn.Upsample(None, 2, upsample_mode) if number < len(ratios) else conv(width, 3, 1, pad=pad))
        merged = branch
    return merged

"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .common import Concat, GenNoise, act

normalization = nn.BatchNorm2d


def conv(in_f, out_f, kernel_size, stride=1, bias=True, pad="zero"):
    # A float, which torch refuses in forward, as in the real code.
    to_pad = (kernel_size - 1) / 2
    if pad == "zero":
        return nn.Conv2d(in_f, out_f, kernel_size, stride, padding=to_pad, bias=bias)
    if pad == "reflection":
        return nn.Sequential(nn.ReflectionPad2d(to_pad), nn.Conv2d(in_f, out_f, kernel_size, stride, bias=bias))


def get_texture_nets(
    inp=3, ratios=[32, 16, 8, 4, 2, 1], fill_noise=False, pad="zero", need_sigmoid=False, conv_num=8,  # noqa: B006
    upsample_mode="nearest",
):  # fmt: skip
    def add(to, first, channels):
        for in_f, kernel_size in ((first, 3), (channels, 3), (channels, 1)):
            for module in (conv(in_f, channels, kernel_size, pad=pad), normalization(channels), act()):
                to.add(module)

    for i, ratio in enumerate(ratios):
        seq = nn.Sequential()
        seq.add(nn.AvgPool2d(ratio, ratio))
        if fill_noise:
            seq.add(GenNoise(inp))
        add(seq, inp, conv_num)
        if i == 0:
            seq.add(nn.Upsample(scale_factor=2, mode=upsample_mode))
            cur = seq
            continue
        coarser, cur, width = cur, nn.Sequential(), conv_num * (i + 1)
        seq.add(normalization(conv_num))
        coarser.add(normalization(conv_num * i))
        cur.add(Concat(1, coarser, seq))
        add(cur, width, width)
        last = i == len(ratios) - 1
        cur.add(conv(width, 3, 1, pad=pad) if last else nn.Upsample(scale_factor=2, mode=upsample_mode))
    if need_sigmoid:
        cur.add(nn.Sigmoid())
    return cur

"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .common import Concat, act, bn, conv


def skip(
    num_input_channels=2, num_output_channels=3, num_channels_down=[16, 32, 64, 128, 128],  # noqa: B006
    num_channels_up=[16, 32, 64, 128, 128], num_channels_skip=[4, 4, 4, 4, 4],  # noqa: B006
    filter_size_down=3, filter_size_up=3, filter_skip_size=1, need_sigmoid=True, need_bias=True, pad="zero",
    upsample_mode="nearest", downsample_mode="stride", act_fun="LeakyReLU", need1x1_up=True,
):  # fmt: skip
    last = len(num_channels_down) - 1

    def at(option, level):
        return option[level] if isinstance(option, (list, tuple)) else option

    def extend(network, before, after, kernel_size, **strided):
        network.add(conv(before, after, kernel_size, bias=need_bias, pad=pad, **strided))
        network.add(bn(after))
        network.add(act(act_fun))

    def nested(level, before):
        """A level with all that are below it."""
        down, across, up = (at(n, level) for n in (num_channels_down, num_channels_skip, num_channels_up))
        deeper, network = nn.Sequential(), nn.Sequential()
        kernel_size = at(filter_size_down, level)
        extend(deeper, before, down, kernel_size, stride=2, downsample_mode=at(downsample_mode, level))
        extend(deeper, down, down, kernel_size)
        if level < last:
            deeper.add(nested(level + 1, down))
        deeper.add(nn.Upsample(None, 2, at(upsample_mode, level)))
        if across:
            beside = nn.Sequential()
            extend(beside, before, across, filter_skip_size)
            network.add(Concat(1, beside, deeper))
        else:
            network.add(deeper)
        merged = across + (num_channels_up[level + 1] if level < last else down)
        network.add(bn(merged))
        extend(network, merged, up, at(filter_size_up, level))
        if need1x1_up:
            extend(network, up, up, 1)
        return network

    whole = nested(0, num_input_channels)
    whole.add(conv(num_channels_up[0], num_output_channels, 1, bias=need_bias, pad=pad))
    if need_sigmoid:
        whole.add(nn.Sigmoid())
    return whole

"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .common import Concat, act, bn, conv


def skip(
    num_input_channels=2, num_output_channels=3, num_channels_down=[16, 32, 64, 128, 128],  # noqa: B006
    num_channels_up=[16, 32, 64, 128, 128], num_channels_skip=[4, 4, 4, 4, 4],  # noqa: B006
    filter_size_down=3, filter_size_up=3, filter_skip_size=1, need_sigmoid=True, need_bias=True, pad="zero",
    upsample_mode="nearest", downsample_mode="stride", act_fun="LeakyReLU", need1x1_up=True,
):  # fmt: skip
    assert len(num_channels_down) == len(num_channels_up) == len(num_channels_skip)
    n_scales = len(num_channels_down)

    def each(option):
        return option if isinstance(option, (list, tuple)) else [option] * n_scales

    upsample_mode, downsample_mode = each(upsample_mode), each(downsample_mode)
    filter_size_down, filter_size_up = each(filter_size_down), each(filter_size_up)
    how = {"bias": need_bias, "pad": pad}

    def add(to, convolution, channels):
        for module in (convolution, bn(channels), act(act_fun)):
            to.add(module)

    model = model_tmp = nn.Sequential()
    input_depth = num_input_channels
    for i, (down, up, skipped) in enumerate(zip(num_channels_down, num_channels_up, num_channels_skip, strict=True)):
        deeper, skip, deeper_main = nn.Sequential(), nn.Sequential(), nn.Sequential()
        model_tmp.add(Concat(1, skip, deeper) if skipped != 0 else deeper)
        below = num_channels_up[i + 1] if i < n_scales - 1 else down
        model_tmp.add(bn(skipped + below))
        if skipped != 0:
            add(skip, conv(input_depth, skipped, filter_skip_size, **how), skipped)
        mode = downsample_mode[i]
        add(deeper, conv(input_depth, down, filter_size_down[i], 2, downsample_mode=mode, **how), down)
        add(deeper, conv(down, down, filter_size_down[i], **how), down)
        if i < n_scales - 1:
            deeper.add(deeper_main)  # filled by the next round
        deeper.add(nn.Upsample(scale_factor=2, mode=upsample_mode[i]))
        add(model_tmp, conv(skipped + below, up, filter_size_up[i], 1, **how), up)
        if need1x1_up:
            add(model_tmp, conv(up, up, 1, **how), up)
        input_depth, model_tmp = down, deeper_main
    model.add(conv(num_channels_up[0], num_output_channels, 1, **how))
    if need_sigmoid:
        model.add(nn.Sigmoid())
    return model

"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .resnet import ResNet as ResNet
from .skip import skip  # from here on `models.skip` is the function, not the module
from .unet import UNet


def get_net(
    input_depth, NET_TYPE, pad, upsample_mode, n_channels=3, act_fun="LeakyReLU", skip_n33d=128, skip_n33u=128,
    skip_n11=4, num_scales=5, downsample_mode="stride",
):  # fmt: skip
    if NET_TYPE == "UNet":
        return UNet(input_depth, upsample_mode=upsample_mode, pad=pad, norm_layer=nn.BatchNorm2d)
    assert NET_TYPE == "skip", "the stand-in has no other"
    down, up, across = (n if isinstance(n, list) else [n] * num_scales for n in (skip_n33d, skip_n33u, skip_n11))
    how = {"pad": pad, "act_fun": act_fun, "upsample_mode": upsample_mode, "downsample_mode": downsample_mode}
    return skip(input_depth, n_channels, num_channels_down=down, num_channels_up=up, num_channels_skip=across, **how)

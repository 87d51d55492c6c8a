"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from torch import nn

from .resnet import ResNet
from .skip import skip  # from here on `models.skip` is the function, not the module
from .texture_nets import get_texture_nets
from .unet import UNet


def get_net(
    input_depth, NET_TYPE, pad, upsample_mode, n_channels=3, act_fun="LeakyReLU", skip_n33d=128, skip_n33u=128,
    skip_n11=4, num_scales=5, downsample_mode="stride",
):  # fmt: skip
    def each(option):
        return [option] * num_scales if isinstance(option, int) else option

    if NET_TYPE == "ResNet":
        # A TypeError, as in the real code: BatchNorm2d goes where the activation belongs.
        return ResNet(input_depth, 3, 10, 16, 1, nn.BatchNorm2d, False)
    if NET_TYPE == "skip":
        return skip(
            input_depth, n_channels, num_channels_down=each(skip_n33d), num_channels_up=each(skip_n33u),
            num_channels_skip=each(skip_n11), upsample_mode=upsample_mode, downsample_mode=downsample_mode,
            need_sigmoid=True, need_bias=True, pad=pad, act_fun=act_fun,
        )  # fmt: skip
    if NET_TYPE == "texture_nets":
        return get_texture_nets(inp=input_depth, ratios=[32, 16, 8, 4, 2, 1], fill_noise=False, pad=pad)
    if NET_TYPE == "UNet":
        return UNet(
            num_input_channels=input_depth, num_output_channels=3, feature_scale=4, more_layers=0, concat_x=False,
            upsample_mode=upsample_mode, pad=pad, norm_layer=nn.BatchNorm2d, need_sigmoid=True, need_bias=True,
        )  # fmt: skip
    assert NET_TYPE == "identity"
    return nn.Sequential()

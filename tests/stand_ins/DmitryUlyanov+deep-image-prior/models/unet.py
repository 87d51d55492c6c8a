"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from .common import conv


class ListModule(nn.Module):
    def __init__(self, *args):
        super().__init__()
        self._modules.update((f"{number}", module) for number, module in enumerate(args))

    def __iter__(self):
        return self.children()

    def __len__(self):
        return sum(1 for _ in self)


class UNet(nn.Module):
    def __init__(
        self, num_input_channels=3, num_output_channels=3, feature_scale=4, more_layers=0, concat_x=False,
        upsample_mode="deconv", pad="zero", norm_layer=nn.InstanceNorm2d, need_sigmoid=True, need_bias=True,
    ):  # fmt: skip
        super().__init__()
        print("pad:", pad)  # among what is printed for others to read, as the real one
        self.concat_x, self.more_layers = concat_x, more_layers
        widths = [full // feature_scale for full in (64, 128, 256, 512, 1024)]
        deepest, beside = widths[-1], num_input_channels * concat_x

        def down(kind, before, after):
            return kind(before, after - beside, norm_layer, need_bias, pad)

        def up(width, **same):
            return unetUp(width, upsample_mode, need_bias, pad, **same)

        self.start = down(unetConv2, num_input_channels, widths[0])
        for number, (before, after) in enumerate(pairwise(widths), 1):
            setattr(self, f"down{number}", down(unetDown, before, after))
        if more_layers:
            self.more_downs = ListModule(*(down(unetDown, deepest, deepest) for _ in range(more_layers)))
            self.more_ups = ListModule(*(up(deepest, same_num_filt=True) for _ in range(more_layers)))
        for number in (4, 3, 2, 1):
            setattr(self, f"up{number}", up(widths[number - 1]))
        last = conv(widths[0], num_output_channels, 1, bias=need_bias, pad=pad)
        self.final = nn.Sequential(last, nn.Sigmoid()) if need_sigmoid else last

    def forward(self, inputs):
        assert self.more_layers < 2, "the real code cannot run with more"
        downs, ups = getattr(self, "more_downs", ()), getattr(self, "more_ups", ())
        made, x = [], inputs
        for level, module in enumerate((self.start, self.down1, self.down2, self.down3, self.down4, *downs)):
            x = module(x)
            if self.concat_x:
                x = torch.cat((x, avg_pool2d(inputs, 2**level)), 1)
            made.append(x)
        x = made.pop()
        for module in (*ups, self.up4, self.up3, self.up2, self.up1):
            x = module(x, made.pop())
        return self.final(x)


class unetConv2(nn.Module):
    def __init__(self, in_size, out_size, norm_layer, need_bias, pad):
        super().__init__()
        for name, channels in (("conv1", in_size), ("conv2", out_size)):
            norm = [norm_layer(out_size)] if norm_layer else []
            block = nn.Sequential(conv(channels, out_size, 3, bias=need_bias, pad=pad), *norm, nn.ReLU())
            setattr(self, name, block)

    def forward(self, inputs):
        return self.conv2(self.conv1(inputs))


class unetDown(nn.Module):
    def __init__(self, in_size, out_size, norm_layer, need_bias, pad):
        super().__init__()
        self.down = nn.MaxPool2d(2)
        self.conv = unetConv2(in_size, out_size, norm_layer, need_bias, pad)

    def forward(self, inputs):
        return self.conv(self.down(inputs))


class unetUp(nn.Module):
    def __init__(self, out_size, upsample_mode, need_bias, pad, same_num_filt=False):
        super().__init__()
        wide = 2 * out_size
        before = out_size if same_num_filt else wide
        self.up = (
            nn.ConvTranspose2d(before, out_size, 4, 2, 1)
            if upsample_mode == "deconv"
            else nn.Sequential(nn.Upsample(None, 2, upsample_mode), conv(before, out_size, 3, bias=need_bias, pad=pad))
        )
        self.conv = unetConv2(wide, out_size, norm_layer=None, need_bias=need_bias, pad=pad)

    def forward(self, inputs1, inputs2):
        coarse = self.up(inputs1)
        for axis in (2, 3):  # the finer one is cropped about its centre
            size = coarse.shape[axis]
            inputs2 = inputs2.narrow(axis, (inputs2.shape[axis] - size) // 2, size)
        return self.conv(torch.cat((coarse, inputs2), 1))

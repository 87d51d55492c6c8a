"""Stand-in written for the tests: names and call structure of DmitryUlyanov/deep-image-prior, none of its text."""

import torch
from torch import nn

from .common import conv


class ListModule(nn.Module):
    def __init__(self, *args):
        super().__init__()
        for idx, module in enumerate(args):
            self.add_module(str(idx), module)

    def __getitem__(self, idx):
        return list(self._modules.values())[idx]

    def __iter__(self):
        return iter(self._modules.values())

    def __len__(self):
        return len(self._modules)


class UNet(nn.Module):
    def __init__(
        self, num_input_channels=3, num_output_channels=3, feature_scale=4, more_layers=0, concat_x=False,
        upsample_mode="deconv", pad="zero", norm_layer=nn.InstanceNorm2d, need_sigmoid=True, need_bias=True,
    ):  # fmt: skip
        super().__init__()
        self.more_layers, self.concat_x = more_layers, concat_x
        f = [x // feature_scale for x in (64, 128, 256, 512, 1024)]
        less = num_input_channels if concat_x else 0
        rest = (norm_layer, need_bias, pad)
        self.start = unetConv2(num_input_channels, f[0] - less, *rest)
        self.down1 = unetDown(f[0], f[1] - less, *rest)
        self.down2 = unetDown(f[1], f[2] - less, *rest)
        self.down3 = unetDown(f[2], f[3] - less, *rest)
        self.down4 = unetDown(f[3], f[4] - less, *rest)
        if more_layers > 0:
            downs = [unetDown(f[4], f[4] - less, *rest) for _ in range(more_layers)]
            ups = [unetUp(f[4], upsample_mode, need_bias, pad, same_num_filt=True) for _ in range(more_layers)]
            self.more_downs, self.more_ups = ListModule(*downs), ListModule(*ups)
        self.up4 = unetUp(f[3], upsample_mode, need_bias, pad)
        self.up3 = unetUp(f[2], upsample_mode, need_bias, pad)
        self.up2 = unetUp(f[1], upsample_mode, need_bias, pad)
        self.up1 = unetUp(f[0], upsample_mode, need_bias, pad)
        self.final = conv(f[0], num_output_channels, 1, bias=need_bias, pad=pad)
        if need_sigmoid:
            self.final = nn.Sequential(self.final, nn.Sigmoid())

    def forward(self, inputs):
        pool, shrunk = nn.AvgPool2d(2, 2), [inputs]
        for _ in range(4 + self.more_layers):
            shrunk.append(pool(shrunk[-1]))

        def widened(made, level):
            return torch.cat([made, shrunk[level]], 1) if self.concat_x else made

        in64 = widened(self.start(inputs), 0)
        down1 = widened(self.down1(in64), 1)
        down2 = widened(self.down2(down1), 2)
        down3 = widened(self.down3(down2), 3)
        up_ = widened(self.down4(down3), 4)
        if self.more_layers > 0:
            prevs = [up_]
            for kk, d in enumerate(self.more_downs):
                prevs.append(widened(d(prevs[-1]), kk + 5))
            up_ = self.more_ups[-1](prevs[-1], prevs[-2])
            for idx in range(self.more_layers - 1):
                # There is no self.more, as in the real code: more than one layer more cannot run.
                up_ = self.more_ups[self.more - idx - 2](up_, prevs[self.more - idx - 2])
        up_ = self.up2(self.up3(self.up4(up_, down3), down2), down1)
        return self.final(self.up1(up_, in64))


class unetConv2(nn.Module):
    def __init__(self, in_size, out_size, norm_layer, need_bias, pad):
        super().__init__()

        def block(channels):
            norm = [] if norm_layer is None else [norm_layer(out_size)]
            return nn.Sequential(conv(channels, out_size, 3, bias=need_bias, pad=pad), *norm, nn.ReLU())

        self.conv1, self.conv2 = block(in_size), block(out_size)

    def forward(self, inputs):
        return self.conv2(self.conv1(inputs))


class unetDown(nn.Module):
    def __init__(self, in_size, out_size, norm_layer, need_bias, pad):
        super().__init__()
        self.conv = unetConv2(in_size, out_size, norm_layer, need_bias, pad)
        self.down = nn.MaxPool2d(2, 2)

    def forward(self, inputs):
        return self.conv(self.down(inputs))


class unetUp(nn.Module):
    def __init__(self, out_size, upsample_mode, need_bias, pad, same_num_filt=False):
        super().__init__()
        num_filt = out_size if same_num_filt else out_size * 2
        if upsample_mode == "deconv":
            self.up = nn.ConvTranspose2d(num_filt, out_size, 4, stride=2, padding=1)
        else:
            assert upsample_mode in ("bilinear", "nearest")
            up = nn.Upsample(scale_factor=2, mode=upsample_mode)
            self.up = nn.Sequential(up, conv(num_filt, out_size, 3, bias=need_bias, pad=pad))
        self.conv = unetConv2(out_size * 2, out_size, None, need_bias, pad)

    def forward(self, inputs1, inputs2):
        up = self.up(inputs1)
        i, j = (inputs2.size(2) - up.size(2)) // 2, (inputs2.size(3) - up.size(3)) // 2
        return self.conv(torch.cat([up, inputs2[:, :, i : i + up.size(2), j : j + up.size(3)]], 1))

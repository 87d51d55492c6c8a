"""Stand-in written for the tests: names and call structure of ajbrock/BigGAN-PyTorch, none of its text.

As in the real code, this Generator only runs with --hier --G_shared.
"""

import functools

import layers
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn import init


class GBlock(nn.Module):
    def __init__(
        self, in_channels, out_channels, which_conv=nn.Conv2d, which_bn=layers.bn, activation=None, upsample=None,
        channel_ratio=4,
    ):  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.hidden_channels = hidden = in_channels // channel_ratio
        self.activation = activation
        self.conv1 = which_conv(in_channels, hidden, kernel_size=1, padding=0)
        self.conv2, self.conv3 = which_conv(hidden, hidden), which_conv(hidden, hidden)
        self.conv4 = which_conv(hidden, out_channels, kernel_size=1, padding=0)
        self.bn1, self.bn2, self.bn3, self.bn4 = which_bn(in_channels), which_bn(hidden), which_bn(hidden), which_bn(hidden)  # fmt: skip
        self.upsample = upsample

    def forward(self, x, y):
        h = self.activation(self.bn2(self.conv1(self.activation(self.bn1(x, y))), y))
        if self.in_channels != self.out_channels:
            x = x[:, : self.out_channels]
        if self.upsample:
            h, x = self.upsample(h), self.upsample(x)
        h = self.conv3(self.activation(self.bn3(self.conv2(h), y)))
        return self.conv4(self.activation(self.bn4(h, y))) + x


def G_arch(ch=64, attention="64", ksize="333333", dilation="111111"):
    at = [int(item) for item in attention.split("_")]
    return {
        32: {
            "in_channels": [ch * 4] * 3,
            "out_channels": [ch * 4] * 3,
            "upsample": [True] * 3,
            "resolution": [8, 16, 32],
            "attention": {2**i: 2**i in at for i in range(3, 6)},
        }
    }


class Generator(nn.Module):
    def __init__(
        self, G_ch=64, G_depth=2, dim_z=128, bottom_width=4, resolution=128, G_kernel_size=3, G_attn="64",
        n_classes=1000, num_G_SVs=1, num_G_SV_itrs=1, G_shared=True, shared_dim=0, hier=False, cross_replica=False,
        mybn=False, G_activation=nn.ReLU(inplace=False),  # noqa: B008
        G_lr=5e-5, G_B1=0.0, G_B2=0.999, adam_eps=1e-8, BN_eps=1e-5, SN_eps=1e-12, G_mixed_precision=False,
        G_fp16=False, G_init="ortho", skip_init=False, no_optim=False, G_param="SN", norm_style="bn", **kwargs,
    ):  # fmt: skip
        super().__init__()
        self.ch, self.G_depth, self.dim_z, self.bottom_width = G_ch, G_depth, dim_z, bottom_width
        self.resolution, self.n_classes, self.G_shared = resolution, n_classes, G_shared
        self.hier, self.fp16, self.activation, self.init = hier, G_fp16, G_activation, G_init
        self.shared_dim = shared_dim if shared_dim > 0 else dim_z
        self.arch = G_arch(self.ch, G_attn)[resolution]
        sn = {"num_svs": num_G_SVs, "num_itrs": num_G_SV_itrs, "eps": SN_eps}
        self.which_conv = functools.partial(layers.SNConv2d, kernel_size=3, padding=1, **sn)
        self.which_linear = functools.partial(layers.SNLinear, **sn)
        self.which_embedding = nn.Embedding
        self.which_bn = functools.partial(
            layers.ccbn, cross_replica=cross_replica, mybn=mybn, norm_style=norm_style, eps=BN_eps,
            which_linear=functools.partial(self.which_linear, bias=False) if G_shared else self.which_embedding,
            input_size=self.shared_dim + self.dim_z if G_shared else n_classes,
        )  # fmt: skip
        self.shared = self.which_embedding(n_classes, self.shared_dim) if G_shared else layers.identity()
        self.linear = self.which_linear(
            self.dim_z + self.shared_dim, self.arch["in_channels"][0] * self.bottom_width**2
        )
        self.blocks = []
        for index, out_channels in enumerate(self.arch["out_channels"]):
            in_channels = self.arch["in_channels"][index]
            up = functools.partial(F.interpolate, scale_factor=2) if self.arch["upsample"][index] else None
            self.blocks += [
                [GBlock(in_channels=in_channels, out_channels=in_channels if g_index == 0 else out_channels,
                        which_conv=self.which_conv, which_bn=self.which_bn, activation=self.activation,
                        upsample=up if g_index == self.G_depth - 1 else None)]
                for g_index in range(self.G_depth)
            ]  # fmt: skip
            if self.arch["attention"][self.arch["resolution"][index]]:
                self.blocks[-1] += [layers.Attention(out_channels, self.which_conv)]
        self.blocks = nn.ModuleList([nn.ModuleList(block) for block in self.blocks])
        width = self.arch["out_channels"][-1]
        self.output_layer = nn.Sequential(
            layers.bn(width, cross_replica=cross_replica, mybn=mybn), self.activation, self.which_conv(width, 3)
        )
        if not skip_init:
            self.init_weights()
        if no_optim:
            return
        self.lr, self.B1, self.B2, self.adam_eps = G_lr, G_B1, G_B2, adam_eps
        self.optim = optim.Adam(
            params=self.parameters(), lr=self.lr, betas=(self.B1, self.B2), weight_decay=0, eps=adam_eps
        )

    def init_weights(self):
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                init.normal_(module.weight, 0, 0.02) if self.init == "N02" else init.orthogonal_(module.weight)

    def forward(self, z, y):
        if self.hier:
            z = y = torch.cat([y, z], 1)
        h = self.linear(z)
        h = h.view(h.size(0), -1, self.bottom_width, self.bottom_width)
        for blocklist in self.blocks:
            for block in blocklist:
                h = block(h, y)
        return torch.tanh(self.output_layer(h))


class DBlock(nn.Module):
    def __init__(
        self, in_channels, out_channels, which_conv=layers.SNConv2d, wide=True, preactivation=True, activation=None,
        downsample=None, channel_ratio=4,
    ):  # fmt: skip
        super().__init__()
        hidden = out_channels // channel_ratio
        self.activation, self.downsample = activation, downsample
        self.conv1 = which_conv(in_channels, hidden, kernel_size=1, padding=0)
        self.conv2, self.conv3 = which_conv(hidden, hidden), which_conv(hidden, hidden)
        self.conv4 = which_conv(hidden, out_channels, kernel_size=1, padding=0)

    def forward(self, x):
        h = self.activation(self.conv3(self.activation(self.conv2(self.activation(self.conv1(F.relu(x)))))))
        if self.downsample:
            h, x = self.downsample(h), self.downsample(x)
        return self.conv4(h) + x


def D_arch(ch=64, attention="64", ksize="333333", dilation="111111"):
    return {
        32: {
            "in_channels": [ch * 4] * 3,
            "out_channels": [ch * 4] * 3,
            "downsample": [True, True, False, False],
            "resolution": [16, 16, 16, 16],
        }
    }


class Discriminator(nn.Module):
    def __init__(
        self, D_ch=64, D_wide=True, D_depth=2, resolution=128, D_kernel_size=3, D_attn="64", n_classes=1000,
        num_D_SVs=1, num_D_SV_itrs=1, D_activation=nn.ReLU(inplace=False),  # noqa: B008
        D_lr=2e-4, D_B1=0.0, D_B2=0.999, adam_eps=1e-8, SN_eps=1e-12, output_dim=1, D_mixed_precision=False,
        D_fp16=False, D_init="ortho", skip_init=False, D_param="SN", **kwargs,
    ):  # fmt: skip
        super().__init__()
        self.activation, self.init, self.fp16 = D_activation, D_init, D_fp16
        self.arch = D_arch(D_ch, D_attn)[resolution]
        sn = {"num_svs": num_D_SVs, "num_itrs": num_D_SV_itrs, "eps": SN_eps}
        self.which_conv = functools.partial(layers.SNConv2d, kernel_size=3, padding=1, **sn)
        self.input_conv = self.which_conv(3, self.arch["in_channels"][0])
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                DBlock(in_channels=self.arch["in_channels"][index] if d_index == 0 else out_channels,
                       out_channels=out_channels, which_conv=self.which_conv, wide=D_wide,
                       activation=self.activation,
                       downsample=nn.AvgPool2d(2) if self.arch["downsample"][index] and d_index == 0 else None)
                for d_index in range(D_depth)
            )
            for index, out_channels in enumerate(self.arch["out_channels"])
        )  # fmt: skip
        self.linear = layers.SNLinear(self.arch["out_channels"][-1], output_dim, **sn)
        self.embed = layers.SNEmbedding(n_classes, self.arch["out_channels"][-1], **sn)
        if not skip_init:
            self.init_weights()
        self.optim = optim.Adam(params=self.parameters(), lr=D_lr, betas=(D_B1, D_B2), weight_decay=0, eps=adam_eps)

    def init_weights(self):
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                init.normal_(module.weight, 0, 0.02) if self.init == "N02" else init.orthogonal_(module.weight)

    def forward(self, x, y=None):
        h = self.input_conv(x)
        for blocklist in self.blocks:
            for block in blocklist:
                h = block(h)
        h = torch.sum(self.activation(h), [2, 3])
        return self.linear(h) + torch.sum(self.embed(y) * h, 1, keepdim=True)


class G_D(nn.Module):
    def __init__(self, G, D):
        super().__init__()
        self.G, self.D = G, D

    def forward(self, z, gy, x=None, dy=None, train_G=False, return_G_z=False, split_D=False):
        with torch.set_grad_enabled(train_G):
            G_z = self.G(z, self.G.shared(gy))
        if split_D:
            D_fake = self.D(G_z, gy)
            if x is not None:
                return D_fake, self.D(x, dy)
            return (D_fake, G_z) if return_G_z else D_fake
        D_out = self.D(
            torch.cat([G_z, x], 0) if x is not None else G_z, torch.cat([gy, dy], 0) if dy is not None else gy
        )
        if x is not None:
            return torch.split(D_out, [G_z.shape[0], x.shape[0]])
        return (D_out, G_z) if return_G_z else D_out

"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import functools

import layers
import torch
import torch.nn.functional as F
from DiffAugment_pytorch import DiffAugment
from torch import nn, optim
from torch.nn import init


def G_arch(ch=64, attention="64", ksize="333333", dilation="111111"):
    at = [int(item) for item in attention.split("_")]
    return {
        size: {
            "in_channels": [ch * item for item in ins],
            "out_channels": [ch * item for item in outs],
            "upsample": [True] * len(ins),
            "resolution": [8 * 2**i for i in range(len(ins))],
            "attention": {8 * 2**i: 8 * 2**i in at for i in range(len(ins))},
        }
        for size, ins, outs in [(64, [16, 16, 8, 4], [16, 8, 4, 2]), (32, [4, 4, 4], [4, 4, 4])]
    }


class Generator(nn.Module):
    def __init__(
        self, G_ch=64, dim_z=128, bottom_width=4, resolution=128, G_kernel_size=3, G_attn="64", n_classes=1000,
        num_G_SVs=1, num_G_SV_itrs=1, G_shared=True, shared_dim=0, hier=False, cross_replica=False, mybn=False,
        G_activation=nn.ReLU(inplace=False),  # noqa: B008 - one object for every generator, as in the real code
        G_lr=5e-5, G_B1=0.0, G_B2=0.999, adam_eps=1e-8, BN_eps=1e-5, SN_eps=1e-12, G_mixed_precision=False,
        G_fp16=False, G_init="ortho", skip_init=False, no_optim=False, G_param="SN", norm_style="bn", **kwargs,
    ):  # fmt: skip
        super().__init__()
        self.ch, self.dim_z, self.bottom_width, self.resolution = G_ch, dim_z, bottom_width, resolution
        self.n_classes, self.G_shared, self.hier, self.fp16 = n_classes, G_shared, hier, G_fp16
        self.shared_dim = shared_dim if shared_dim > 0 else dim_z
        self.activation, self.init = G_activation, G_init
        self.arch = G_arch(self.ch, G_attn)[resolution]
        self.num_slots, self.z_chunk_size = 1, 0
        if self.hier:
            self.num_slots = len(self.arch["in_channels"]) + 1
            self.z_chunk_size = self.dim_z // self.num_slots
            self.dim_z = self.z_chunk_size * self.num_slots
        if G_param == "SN":
            sn = {"num_svs": num_G_SVs, "num_itrs": num_G_SV_itrs, "eps": SN_eps}
            self.which_conv = functools.partial(layers.SNConv2d, kernel_size=3, padding=1, **sn)
            self.which_linear = functools.partial(layers.SNLinear, **sn)
        else:
            self.which_conv = functools.partial(nn.Conv2d, kernel_size=3, padding=1)
            self.which_linear = nn.Linear
        self.which_embedding = nn.Embedding
        self.which_bn = functools.partial(
            layers.ccbn, cross_replica=cross_replica, mybn=mybn, norm_style=norm_style, eps=BN_eps,
            which_linear=functools.partial(self.which_linear, bias=False) if G_shared else self.which_embedding,
            input_size=self.shared_dim + self.z_chunk_size if G_shared else n_classes,
        )  # fmt: skip
        self.shared = self.which_embedding(n_classes, self.shared_dim) if G_shared else layers.identity()
        self.linear = self.which_linear(
            self.dim_z // self.num_slots, self.arch["in_channels"][0] * self.bottom_width**2
        )
        self.blocks = []
        for index, out_channels in enumerate(self.arch["out_channels"]):
            upsample = functools.partial(F.interpolate, scale_factor=2) if self.arch["upsample"][index] else None
            self.blocks += [
                [layers.GBlock(in_channels=self.arch["in_channels"][index], out_channels=out_channels,
                               which_conv=self.which_conv, which_bn=self.which_bn, activation=self.activation,
                               upsample=upsample)]
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
            z, *rest = torch.split(z, self.z_chunk_size, 1)
            ys = [torch.cat([y, item], 1) for item in rest]
        else:
            ys = [y] * len(self.blocks)
        h = self.linear(z)
        h = h.view(h.size(0), -1, self.bottom_width, self.bottom_width)
        for index, blocklist in enumerate(self.blocks):
            for block in blocklist:
                h = block(h, ys[index])
        return torch.tanh(self.output_layer(h))


def D_arch(ch=64, attention="64", ksize="333333", dilation="111111"):
    at = [int(item) for item in attention.split("_")]
    return {
        32: {
            "in_channels": [3] + [ch * 4] * 3,
            "out_channels": [ch * 4] * 4,
            "downsample": [True, True, False, False],
            "resolution": [16, 16, 16, 16],
            "attention": {2**i: 2**i in at for i in range(2, 6)},
        }
    }


class Discriminator(nn.Module):
    def __init__(
        self, D_ch=64, D_wide=True, resolution=128, D_kernel_size=3, D_attn="64", n_classes=1000,
        num_D_SVs=1, num_D_SV_itrs=1, D_activation=nn.ReLU(inplace=False),  # noqa: B008
        D_lr=2e-4, D_B1=0.0, D_B2=0.999, adam_eps=1e-8, SN_eps=1e-12, output_dim=1, D_mixed_precision=False,
        D_fp16=False, D_init="ortho", skip_init=False, D_param="SN", **kwargs,
    ):  # fmt: skip
        super().__init__()
        self.activation, self.init, self.fp16 = D_activation, D_init, D_fp16
        self.arch = D_arch(D_ch, D_attn)[resolution]
        sn = {"num_svs": num_D_SVs, "num_itrs": num_D_SV_itrs, "eps": SN_eps}
        self.which_conv = functools.partial(layers.SNConv2d, kernel_size=3, padding=1, **sn)
        self.blocks = []
        for index, out_channels in enumerate(self.arch["out_channels"]):
            self.blocks += [
                [layers.DBlock(in_channels=self.arch["in_channels"][index], out_channels=out_channels,
                               which_conv=self.which_conv, wide=D_wide, activation=self.activation,
                               preactivation=index > 0,
                               downsample=nn.AvgPool2d(2) if self.arch["downsample"][index] else None)]
            ]  # fmt: skip
            if self.arch["attention"][self.arch["resolution"][index]]:
                self.blocks[-1] += [layers.Attention(out_channels, self.which_conv)]
        self.blocks = nn.ModuleList([nn.ModuleList(block) for block in self.blocks])
        self.linear = layers.SNLinear(self.arch["out_channels"][-1], output_dim, **sn)
        self.embed = layers.SNEmbedding(n_classes, self.arch["out_channels"][-1], **sn)
        if not skip_init:
            self.init_weights()
        self.lr, self.B1, self.B2, self.adam_eps = D_lr, D_B1, D_B2, adam_eps
        self.optim = optim.Adam(
            params=self.parameters(), lr=self.lr, betas=(self.B1, self.B2), weight_decay=0, eps=adam_eps
        )

    def init_weights(self):
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                init.normal_(module.weight, 0, 0.02) if self.init == "N02" else init.orthogonal_(module.weight)

    def forward(self, x, y=None):
        h = x
        for blocklist in self.blocks:
            for block in blocklist:
                h = block(h)
        h = torch.sum(self.activation(h), [2, 3])
        return self.linear(h) + torch.sum(self.embed(y) * h, 1, keepdim=True)


class G_D(nn.Module):
    def __init__(self, G, D):
        super().__init__()
        self.G, self.D = G, D

    def forward(self, z, gy, x=None, dy=None, train_G=False, return_G_z=False, policy=False, CR=False, CR_augment=None):
        G_z = None
        if z is not None:
            with torch.set_grad_enabled(train_G):
                G_z = self.G(z, self.G.shared(gy))
        D_input = DiffAugment(torch.cat([img for img in [G_z, x] if img is not None], 0), policy=policy)
        D_class = torch.cat([label for label in [gy, dy] if label is not None], 0)
        if CR:
            again = x
            if CR_augment:
                again = torch.split(D_input, [G_z.shape[0], x.shape[0]])[1]
                if CR_augment.startswith("flip,"):
                    flip = torch.randint(0, 2, size=[again.size(0), 1, 1, 1], device=again.device) > 0
                    again = torch.where(flip, again.flip(3), again)
                again = DiffAugment(again, policy=CR_augment.replace("flip,", ""))
            D_input, D_class = torch.cat([D_input, again], 0), torch.cat([D_class, dy], 0)
        D_out = self.D(D_input, D_class)
        if G_z is None:
            return D_out
        if x is not None:
            return torch.split(D_out, [G_z.shape[0], x.shape[0], x.shape[0]][: 3 if CR else 2])
        return (D_out, G_z) if return_G_z else D_out

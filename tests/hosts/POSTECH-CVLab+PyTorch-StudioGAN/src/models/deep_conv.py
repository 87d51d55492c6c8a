"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from models.resnet import Discriminator  # noqa: F401 - the real one has its own
from torch import nn
from utils import misc, ops


class GenBlock(nn.Module):
    def __init__(self, in_channels, out_channels, g_cond_mtd, g_info_injection, affine_input_dim, MODULES):
        super().__init__()
        self.g_cond_mtd = g_cond_mtd
        self.deconv0 = MODULES.g_deconv2d(
            in_channels=in_channels, out_channels=out_channels, kernel_size=4, stride=2, padding=1
        )
        if g_cond_mtd == "W/O":
            self.bn0 = MODULES.g_bn(in_features=out_channels)
        else:
            self.bn0 = MODULES.g_bn(affine_input_dim, out_channels, MODULES)
        self.activation = MODULES.g_act_fn

    def forward(self, x, affine):
        x = self.deconv0(x)
        return self.activation(self.bn0(x) if self.g_cond_mtd == "W/O" else self.bn0(x, affine))


class Generator(nn.Module):
    def __init__(
        self, z_dim, g_shared_dim, img_size, g_conv_dim, apply_attn, attn_g_loc, g_cond_mtd, num_classes, g_init,
        g_depth, mixed_precision, MODULES, MODEL,
    ):  # fmt: skip
        super().__init__()
        self.in_dims, self.out_dims = [64, 32, 16], [32, 16, 8]  # eight times as many in the real one
        self.z_dim, self.num_classes, self.g_cond_mtd = z_dim, num_classes, g_cond_mtd
        self.mixed_precision, self.MODEL = mixed_precision, MODEL
        self.affine_input_dim = num_classes if g_cond_mtd == "cBN" else 0
        self.linear0 = MODULES.g_linear(in_features=z_dim, out_features=self.in_dims[0] * 4 * 4, bias=True)
        self.blocks = []
        for index, (in_channels, out_channels) in enumerate(zip(self.in_dims, self.out_dims, strict=True)):
            self.blocks += [
                [GenBlock(in_channels=in_channels, out_channels=out_channels, g_cond_mtd=g_cond_mtd,
                          g_info_injection=MODEL.g_info_injection, affine_input_dim=self.affine_input_dim,
                          MODULES=MODULES)]
            ]  # fmt: skip
            if index + 1 in attn_g_loc and apply_attn:
                self.blocks += [[ops.SelfAttention(out_channels, is_generator=True, MODULES=MODULES)]]
        self.blocks = nn.ModuleList([nn.ModuleList(block) for block in self.blocks])
        self.conv4 = MODULES.g_conv2d(in_channels=self.out_dims[-1], out_channels=3, kernel_size=3, stride=1, padding=1)
        self.tanh = nn.Tanh()
        ops.init_weights(self.modules, g_init)

    def forward(self, z, label, shared_label=None, eval=False):
        affines = None
        if self.g_cond_mtd != "W/O":
            affines = F.one_hot(label, num_classes=self.num_classes).to(torch.float32)
        with torch.autocast("cpu") if self.mixed_precision and not eval else misc.dummy_context_mgr():
            act = self.linear0(z).view(-1, self.in_dims[0], 4, 4)
            for blocklist in self.blocks:
                for block in blocklist:
                    act = block(act) if isinstance(block, ops.SelfAttention) else block(act, affines)
            return self.tanh(self.conv4(act))

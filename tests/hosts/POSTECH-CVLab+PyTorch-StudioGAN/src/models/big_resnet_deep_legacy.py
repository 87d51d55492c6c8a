"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from models.resnet import Discriminator  # noqa: F401 - the real one has its own
from torch import nn
from utils import misc, ops


class GenBlock(nn.Module):
    def __init__(self, in_channels, out_channels, g_cond_mtd, affine_input_dim, upsample, MODULES, channel_ratio=4):
        super().__init__()
        self.in_channels, self.out_channels, self.upsample = in_channels, out_channels, upsample
        self.hidden_channels = hidden = in_channels // channel_ratio
        self.bn1 = MODULES.g_bn(affine_input_dim, in_channels, MODULES)
        self.bn2 = MODULES.g_bn(affine_input_dim, hidden, MODULES)
        self.bn3 = MODULES.g_bn(affine_input_dim, hidden, MODULES)
        self.bn4 = MODULES.g_bn(affine_input_dim, hidden, MODULES)
        self.activation = MODULES.g_act_fn
        self.conv2d1 = MODULES.g_conv2d(
            in_channels=in_channels, out_channels=hidden, kernel_size=1, stride=1, padding=0
        )
        self.conv2d2 = MODULES.g_conv2d(in_channels=hidden, out_channels=hidden, kernel_size=3, stride=1, padding=1)
        self.conv2d3 = MODULES.g_conv2d(in_channels=hidden, out_channels=hidden, kernel_size=3, stride=1, padding=1)
        self.conv2d4 = MODULES.g_conv2d(
            in_channels=hidden, out_channels=out_channels, kernel_size=1, stride=1, padding=0
        )

    def forward(self, x, affine):
        x0 = x[:, : self.out_channels]
        x = self.conv2d1(self.activation(self.bn1(x, affine)))
        x = self.activation(self.bn2(x, affine))
        if self.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x0 = F.interpolate(x0, scale_factor=2, mode="nearest")
        x = self.conv2d3(self.activation(self.bn3(self.conv2d2(x), affine)))
        return self.conv2d4(self.activation(self.bn4(x, affine))) + x0


class Generator(nn.Module):
    def __init__(
        self, z_dim, g_shared_dim, img_size, g_conv_dim, apply_attn, attn_g_loc, g_cond_mtd, num_classes, g_init,
        g_depth, mixed_precision, MODULES, MODEL,
    ):  # fmt: skip
        super().__init__()
        self.in_dims = self.out_dims = {"32": [g_conv_dim * 4] * 3}[str(img_size)]
        self.z_dim, self.g_shared_dim, self.num_classes = z_dim, g_shared_dim, num_classes
        self.g_cond_mtd, self.mixed_precision, self.MODEL, self.bottom = g_cond_mtd, mixed_precision, MODEL, 4
        self.affine_input_dim = z_dim
        if g_cond_mtd != "W/O":
            self.affine_input_dim += g_shared_dim
            self.shared = ops.embedding(num_embeddings=num_classes, embedding_dim=g_shared_dim)
        self.linear0 = MODULES.g_linear(
            in_features=self.affine_input_dim, out_features=self.in_dims[0] * self.bottom**2, bias=True
        )
        self.blocks = []
        for index, (in_channels, out_channels) in enumerate(zip(self.in_dims, self.out_dims, strict=True)):
            self.blocks += [
                [GenBlock(in_channels=in_channels, out_channels=in_channels if g_index == 0 else out_channels,
                          g_cond_mtd=g_cond_mtd, affine_input_dim=self.affine_input_dim,
                          upsample=g_index == g_depth - 1, MODULES=MODULES)]
                for g_index in range(g_depth)
            ]  # fmt: skip
            if index + 1 in attn_g_loc and apply_attn:
                self.blocks += [[ops.SelfAttention(out_channels, is_generator=True, MODULES=MODULES)]]
        self.blocks = nn.ModuleList([nn.ModuleList(block) for block in self.blocks])
        self.bn4 = ops.batchnorm_2d(in_features=self.out_dims[-1])
        self.activation = MODULES.g_act_fn
        self.conv2d5 = MODULES.g_conv2d(
            in_channels=self.out_dims[-1], out_channels=3, kernel_size=3, stride=1, padding=1
        )
        self.tanh = nn.Tanh()
        ops.init_weights(self.modules, g_init)

    def forward(self, z, label, shared_label=None, eval=False):
        with torch.autocast("cpu") if self.mixed_precision and not eval else misc.dummy_context_mgr():
            if self.g_cond_mtd != "W/O":
                if shared_label is None:
                    shared_label = self.shared(label)
                z = torch.cat([shared_label, z], 1)
            act = self.linear0(z).view(-1, self.in_dims[0], self.bottom, self.bottom)
            for blocklist in self.blocks:
                for block in blocklist:
                    act = block(act) if isinstance(block, ops.SelfAttention) else block(act, z)
            return self.tanh(self.conv2d5(self.activation(self.bn4(act))))

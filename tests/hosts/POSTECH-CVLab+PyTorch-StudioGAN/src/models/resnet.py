"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn
from utils import misc, ops


class GenBlock(nn.Module):
    def __init__(self, in_channels, out_channels, g_cond_mtd, g_info_injection, affine_input_dim, MODULES):
        super().__init__()
        self.g_cond_mtd = g_cond_mtd
        if g_cond_mtd == "W/O":
            self.bn1, self.bn2 = MODULES.g_bn(in_features=in_channels), MODULES.g_bn(in_features=out_channels)
        else:
            self.bn1 = MODULES.g_bn(affine_input_dim, in_channels, MODULES)
            self.bn2 = MODULES.g_bn(affine_input_dim, out_channels, MODULES)
        self.activation = MODULES.g_act_fn
        self.conv2d0 = MODULES.g_conv2d(
            in_channels=in_channels, out_channels=out_channels, kernel_size=1, stride=1, padding=0
        )
        self.conv2d1 = MODULES.g_conv2d(
            in_channels=in_channels, out_channels=out_channels, kernel_size=3, stride=1, padding=1
        )
        self.conv2d2 = MODULES.g_conv2d(
            in_channels=out_channels, out_channels=out_channels, kernel_size=3, stride=1, padding=1
        )

    def forward(self, x, affine):
        condition = () if self.g_cond_mtd == "W/O" else (affine,)
        x0 = x
        x = self.activation(self.bn1(x, *condition))
        x = self.conv2d1(F.interpolate(x, scale_factor=2, mode="nearest"))
        x = self.conv2d2(self.activation(self.bn2(x, *condition)))
        return x + self.conv2d0(F.interpolate(x0, scale_factor=2, mode="nearest"))


class Generator(nn.Module):
    def __init__(
        self, z_dim, g_shared_dim, img_size, g_conv_dim, apply_attn, attn_g_loc, g_cond_mtd, num_classes, g_init,
        g_depth, mixed_precision, MODULES, MODEL,
    ):  # fmt: skip
        super().__init__()
        self.in_dims = self.out_dims = {"32": [g_conv_dim * 4] * 3}[str(img_size)]
        self.z_dim, self.num_classes, self.g_cond_mtd = z_dim, num_classes, g_cond_mtd
        self.mixed_precision, self.MODEL, self.bottom = mixed_precision, MODEL, 4
        self.affine_input_dim = num_classes if g_cond_mtd == "cBN" else 0
        self.linear0 = MODULES.g_linear(in_features=z_dim, out_features=self.in_dims[0] * self.bottom**2, bias=True)
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
        self.bn4 = ops.batchnorm_2d(in_features=self.out_dims[-1])
        self.activation = MODULES.g_act_fn
        self.conv2d5 = MODULES.g_conv2d(
            in_channels=self.out_dims[-1], out_channels=3, kernel_size=3, stride=1, padding=1
        )
        self.tanh = nn.Tanh()
        ops.init_weights(self.modules, g_init)

    def forward(self, z, label, shared_label=None, eval=False):
        affines = None
        if self.g_cond_mtd != "W/O":
            affines = F.one_hot(label, num_classes=self.num_classes).to(torch.float32)
        with torch.autocast("cpu") if self.mixed_precision and not eval else misc.dummy_context_mgr():
            act = self.linear0(z).view(-1, self.in_dims[0], self.bottom, self.bottom)
            for blocklist in self.blocks:
                for block in blocklist:
                    act = block(act) if isinstance(block, ops.SelfAttention) else block(act, affines)
            return self.tanh(self.conv2d5(self.activation(self.bn4(act))))


class Discriminator(nn.Module):
    """Smaller than the real ones; what it returns is theirs."""

    def __init__(
        self, img_size, d_conv_dim, apply_d_sn, apply_attn, attn_d_loc, d_cond_mtd, aux_cls_type, d_embed_dim,
        normalize_d_embed, num_classes, d_init, d_depth, mixed_precision, MODULES, MODEL,
    ):  # fmt: skip
        super().__init__()
        width = d_conv_dim if isinstance(d_conv_dim, int) else 8
        self.d_cond_mtd, self.mixed_precision, self.MODEL = d_cond_mtd, mixed_precision, MODEL
        self.conv2d1 = MODULES.d_conv2d(in_channels=3, out_channels=width, kernel_size=4, stride=4, padding=0)
        self.conv2d2 = MODULES.d_conv2d(in_channels=width, out_channels=width, kernel_size=3, stride=1, padding=1)
        self.activation = MODULES.d_act_fn
        outputs = 1 + num_classes if d_cond_mtd == "MH" else 1
        self.linear1 = MODULES.d_linear(in_features=width, out_features=outputs, bias=True)
        if d_cond_mtd == "PD":
            self.embedding = MODULES.d_embedding(num_classes, width)
        ops.init_weights(self.modules, d_init)

    def forward(self, x, label, eval=False, adc_fake=False):
        with torch.autocast("cpu") if self.mixed_precision and not eval else misc.dummy_context_mgr():
            h = self.activation(self.conv2d2(self.activation(self.conv2d1(x)))).sum(dim=[2, 3])
            adv_output = torch.squeeze(self.linear1(h))
            if self.d_cond_mtd == "PD":
                adv_output = adv_output + (self.embedding(label) * h).sum(1)
        return {"h": h, "adv_output": adv_output, "embed": None, "proxy": None, "cls_output": None, "label": label}

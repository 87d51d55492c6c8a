"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
import torch.nn.functional as F
from torch import nn
from utils import ops


def double(x):
    return F.interpolate(x, scale_factor=2)


class ResidualBlock(nn.Module):
    """Norm, activation and convolution in turn, doubling the side before convolution number up_at; beside a shortcut."""

    def __init__(self, widths, kernels, up_at, condition, MODULES, learned_shortcut=True):
        super().__init__()
        self.up_at, self.activation = up_at, MODULES.g_act_fn
        self.norms = nn.ModuleList(MODULES.g_bn(condition, width, MODULES) for width in widths[:-1])
        shapes = zip(widths, widths[1:], kernels, strict=False)
        self.convs = nn.ModuleList(MODULES.g_conv2d(a, b, side, padding=side // 2) for a, b, side in shapes)
        self.shortcut = MODULES.g_conv2d(widths[0], widths[-1], 1) if learned_shortcut else nn.Identity()

    def forward(self, x, y):
        short = x if self.up_at is None else double(x)
        for number, norm in enumerate(self.norms):
            x = self.activation(norm(x, y))
            x = self.convs[number](double(x) if number == self.up_at else x)
        return self.shortcut(short) + x


class Bottleneck(ResidualBlock):
    """The block of both deep backbones, which doubles the side where it is the last of its stage."""

    def __init__(self, width, condition, last, MODULES, learned_shortcut):
        inner = [max(width // 4, 1)] * 3
        super().__init__(
            [width, *inner, width], (1, 3, 3, 1), 1 if last else None, condition, MODULES, learned_shortcut
        )


class ConvStack(nn.Module):
    """What the convolutional generators share: 4x4 from noise, three stages that double the side, one convolution.

    A subclass says what noise and label become (`inputs`), what a stage is (`stage`), and how wide all of it is.
    """

    head, activated = "conv2d5", True

    def __init__(self, num_classes, mixed_precision, MODULES, MODEL):
        super().__init__()
        self.num_classes, self.mixed_precision = num_classes, mixed_precision
        self.conditional = MODEL.g_cond_mtd != "W/O"
        width, noise, condition = self.sizes(MODEL)
        self.linear0 = MODULES.g_linear(noise, width * 4 * 4)
        self.blocks = nn.ModuleList()
        for number in range(1, 4):
            self.blocks.extend(self.stage(width, condition, MODULES, MODEL))
            if MODEL.apply_attn and number in MODEL.attn_g_loc:
                self.blocks.append(ops.SelfAttention(width, MODULES))
        if self.activated:
            self.bn4, self.activation = nn.BatchNorm2d(width), MODULES.g_act_fn
        self.add_module(self.head, MODULES.g_conv2d(width, 3, 3, padding=1))
        ops.init_weights(self, MODEL.g_init)

    def sizes(self, MODEL):
        """Of the stages, of the noise that is made 4x4, and of the condition of each block."""
        return MODEL.g_conv_dim * 4, MODEL.z_dim, self.num_classes if self.conditional else 0

    def inputs(self, z, label):
        """The noise that is made 4x4, and a condition for each block."""
        one_hot = F.one_hot(label, self.num_classes).float() if self.conditional else None
        return z, [one_hot] * len(self.blocks)

    def forward(self, z, label, eval=False):
        with torch.autocast("cpu", enabled=self.mixed_precision and not eval):
            noise, conditions = self.inputs(z, label)
            x, left = self.linear0(noise).unflatten(1, (-1, 4, 4)), iter(conditions)
            for block in self.blocks:
                x = block(x) if isinstance(block, ops.SelfAttention) else block(x, next(left))
            if self.activated:
                x = self.activation(self.bn4(x))
            return getattr(self, self.head)(x).tanh()


class DeepStack(ConvStack):
    """Whose blocks all see the noise and an embedding of the label."""

    def sizes(self, MODEL):
        self.shared = nn.Embedding(self.num_classes, MODEL.g_shared_dim)
        joint = MODEL.z_dim + MODEL.g_shared_dim
        return MODEL.g_conv_dim * 4, joint, joint

    def inputs(self, z, label):
        joint = torch.hstack([self.shared(label), z])
        return joint, [joint] * len(self.blocks)


class Discriminator(nn.Module):
    """One for all, and smaller than any of the real ones; what it returns is theirs."""

    def __init__(self, num_classes, mixed_precision, MODULES, MODEL):
        super().__init__()
        self.mixed_precision = mixed_precision
        width = 8 if isinstance(MODEL.d_conv_dim, str) else MODEL.d_conv_dim
        self.features = nn.Sequential(
            MODULES.d_conv2d(3, width, 4, stride=4), MODULES.d_act_fn,
            MODULES.d_conv2d(width, width, 3, padding=1), MODULES.d_act_fn,
        )  # fmt: skip
        self.linear1 = MODULES.d_linear(width, num_classes + 1 if MODEL.d_cond_mtd == "MH" else 1)
        if MODEL.d_cond_mtd in ("PD", "SPD"):
            self.embedding = MODULES.d_embedding(num_classes, width)
        ops.init_weights(self, MODEL.d_init)

    def forward(self, x, label, eval=False):
        with torch.autocast("cpu", enabled=self.mixed_precision and not eval):
            h = self.features(x).sum((2, 3))
            logits = self.linear1(h)
            if hasattr(self, "embedding"):
                logits = logits + (h * self.embedding(label)).sum(1, keepdim=True)
            return {"h": h, "adv_output": logits.squeeze(1), "label": label}

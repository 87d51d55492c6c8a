"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import torch
from models.common import ConvStack, ResidualBlock
from torch import nn


class GenBlock(ResidualBlock):
    def __init__(self, width, condition, MODULES):
        super().__init__([width] * 3, (3, 3), 0, condition, MODULES)


class Generator(ConvStack):
    """Each block has a part of the noise to itself."""

    def sizes(self, MODEL):
        self.shared, part = nn.Embedding(self.num_classes, MODEL.g_shared_dim), MODEL.z_dim // 4
        return MODEL.g_conv_dim * 4, part, part + MODEL.g_shared_dim

    def inputs(self, z, label):
        first, *parts = z.tensor_split(4, dim=1)
        return first, [torch.hstack([self.shared(label), part]) for part in parts]

    def stage(self, width, condition, MODULES, MODEL):
        yield GenBlock(width, condition, MODULES)

"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

from models.common import ConvStack
from torch import nn


class GenBlock(nn.Module):
    def __init__(self, width, condition, MODULES):
        super().__init__()
        self.deconv0 = MODULES.g_deconv2d(width, width, 4, stride=2, padding=1)
        self.norm, self.activation = MODULES.g_bn(condition, width, MODULES), MODULES.g_act_fn

    def forward(self, x, y):
        return self.activation(self.norm(self.deconv0(x), y))


class Generator(ConvStack):
    """Whose image is made of what its last block activated."""

    head, activated = "conv4", False

    def sizes(self, MODEL):
        _, *others = super().sizes(MODEL)
        return 8, *others

    def stage(self, width, condition, MODULES, MODEL):
        yield GenBlock(width, condition, MODULES)

"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

from models.common import ConvStack, ResidualBlock


class GenBlock(ResidualBlock):
    def __init__(self, width, condition, MODULES):
        super().__init__([width] * 3, (3, 3), 0, condition, MODULES)


class Generator(ConvStack):
    def stage(self, width, condition, MODULES, MODEL):
        yield GenBlock(width, condition, MODULES)

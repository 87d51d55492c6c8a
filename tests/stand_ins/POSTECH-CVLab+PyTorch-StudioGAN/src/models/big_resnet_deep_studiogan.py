"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

from models.common import Bottleneck, DeepStack


class GenBlock(Bottleneck):
    def __init__(self, width, condition, last, MODULES):
        super().__init__(width, condition, last, MODULES, learned_shortcut=True)


class Generator(DeepStack):
    def stage(self, width, condition, MODULES, MODEL):
        for left in reversed(range(MODEL.g_depth)):
            yield GenBlock(width, condition, left == 0, MODULES)

"""Runs pytorch_GAN_zoo's own train.py in its folder, and says what the 1x1 convolutions to images consumed.

Equipment, not part of what is tested: its Adam is given an integer beside a float, which current torch refuses.
"""

import json
import runpy
import sys

import torch
from torch.nn import functional as F

conv2d, adam, seen = F.conv2d, torch.optim.Adam, {}


def spy(input, weight, *args, **kwargs):
    if weight.shape[0] == 3 and weight.shape[-1] == 1:
        seen.setdefault(input.shape[-1], []).append(int((input != 0).sum(1).max()))
    return conv2d(input, weight, *args, **kwargs)


def floats(params, betas=(0.9, 0.999), **settings):
    return adam(params, betas=tuple(map(float, betas)), **settings)


F.conv2d, torch.optim.Adam = spy, floats
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
print(json.dumps({size: [len(counts), max(counts)] for size, counts in seen.items()}))

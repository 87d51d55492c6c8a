"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import random

import numpy as np
import torch
from utils import ops


def fix_seed(seed):
    for library in (random.seed, np.random.seed, torch.manual_seed):
        library(seed)


def endless(loader):
    """Pass after pass, each shuffled anew."""
    turn = 0
    while True:
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(turn)
        yield from loader
        turn += 1


def peel_model(model):
    return getattr(model, "module", model)


def toggle_grad(model, grad):
    model.requires_grad_(grad)


def set_mode(*networks, training):
    """Evaluating, layers with weights are put back to training: spectral norms go on with their iteration."""
    for network in networks:
        if network is None:
            continue
        for part in network.train(training).modules():
            if isinstance(part, tuple(ops.LAYERS.values())):
                part.train()

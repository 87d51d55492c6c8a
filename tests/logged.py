"""Trainings whose measurements go to sinks, and what the plugin said."""

import torch
from generators import Residual, noise

from sparse_plugin import attach

NUMBERS = {"sparsity", "sparsity_before", "never_used", "unused_so_far"}


def said(caplog):
    """What the plugin said."""
    return [record.getMessage() for record in caplog.records if record.name == "sparse_plugin"]


class Training:
    """A script's training, attached; `steps` takes some more."""

    def __init__(self, name="l0_inf", every=1, log=("tensorboard",), **settings):
        self.generator = Residual()
        self.attachment = attach(self.generator, name, log=log, measure_every=every, **(settings or {"k": 2}))
        self.optimizer = torch.optim.SGD(self.generator.parameters(), 0.01)

    def steps(self, count):
        for _ in range(count):
            self.optimizer.zero_grad()
            self.generator(noise()).square().mean().backward()
            self.optimizer.step()

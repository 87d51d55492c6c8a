"""Generators with a schedule on them, and steps of their training."""

import torch
from generators import Plain, Residual, noise

import sparse_plugin

LINEAR = {"start": 1.0, "end": 0.25, "steps": 3}  # of the 8 channels of Γ: 8, 6, 4, 2
QUICK = {"auto": 0.5, "measure": 4, "steps": 2, "shape": "linear"}


def dense(kind=Residual, seed=0):
    """A generator whose Γ has no zero by itself."""
    torch.manual_seed(seed)
    generator = kind()
    (generator.main[4] if kind is Plain else generator.bn3).bias.data.fill_(9.0)
    return generator


def attached(name="l0_inf", k=LINEAR, kind=Residual, **more):
    generator = dense(kind)
    return generator, sparse_plugin.attach(generator, name, k=k, example_input=noise(), **more)


def kept(generator):
    """How many entries the fullest needle that D1 consumes has."""
    seen = []
    d1 = generator.get_submodule(sparse_plugin.Attachment.of(generator).sites[0].path)
    handle = d1.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    with torch.no_grad():
        generator(noise())
    handle.remove()
    return int((seen[0] != 0).sum(1).max())


def train(generator, steps=1, optimizer=None, then=lambda: None):
    """Optimizer steps of a generator. Returns the optimizer."""
    optimizer = optimizer or torch.optim.SGD(generator.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        generator(noise()).square().mean().backward()
        optimizer.step()
        then()
    return optimizer


@torch.no_grad()
def average(ema, generator, buffers=None):
    """One step of an EMA, of the parameters alone or with the buffers copied or averaged too."""
    for twin, p in zip(ema.parameters(), generator.parameters(), strict=True):
        twin.lerp_(p, 0.5)
    for twin, b in zip(ema.buffers(), generator.buffers(), strict=True):
        if buffers == "copied":
            twin.copy_(b)
        elif buffers == "averaged" and twin.is_floating_point():
            twin.lerp_(b, 0.9)

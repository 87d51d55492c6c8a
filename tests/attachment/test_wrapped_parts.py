"""Something that is put around D1 after its site was found changes the paths of modules, and nothing else."""

import pytest
import torch
from generators import Residual, noise
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from sparse_plugin import attach
from sparse_plugin.attachment.atoms import atoms


class Around(nn.Module):
    """A wrapper of a host's own."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, gamma):
        return self.inner(gamma)


WRAPPERS = {
    "nothing": lambda module: module,
    "checkpoint": checkpoint_wrapper,
    "compiled": lambda module: torch.compile(module, backend="eager"),
    "own": Around,
}
LINEAR = {"start": 1.0, "end": 0.25, "steps": 3}  # of the 8 channels of Γ: 8, 6, 4, 2


def attached(around, name, **settings):
    torch.manual_seed(0)
    generator = Residual()
    generator.bn3.bias.data.fill_(9.0)  # no zero by itself
    handle = attach(generator, name, example_input=noise(), **settings)
    generator.out = WRAPPERS[around](generator.out)
    return generator, handle


@pytest.mark.parametrize(
    ("around", "delivery"),
    [(around, "gradient") for around in WRAPPERS] + [("checkpoint", "loss"), ("own", "loss")],  # compiled, that is refused
)
def test_a_penalty_is_added_once(around, delivery):
    def gradient(around):
        generator, handle = attached(around, "l1", weight=4.0, delivery=delivery)
        loss = generator(noise()).square().mean()
        (loss + handle.penalty() if delivery == "loss" else loss).backward()
        return generator.bn3.bias.grad

    assert torch.allclose(gradient(around), gradient("nothing"), atol=1e-6)


@pytest.mark.parametrize("around", ["checkpoint", "own"])
@pytest.mark.parametrize("sites", [{}, {"sites": "out"}], ids=["found", "named"])
def test_a_schedule_goes_on(around, sites):
    generator, handle = attached(around, "l0_inf", k=LINEAR, **sites)
    optimizer, seen = torch.optim.SGD(generator.parameters(), 1e-3), []
    for _ in range(5):
        seen.append([measured.settings["k"] for measured in handle.measure(noise())])
        generator(noise()).square().mean().backward()
        optimizer.step()
    assert seen == [[1.0], [0.75], [0.5], [0.25], [0.25]]


@pytest.mark.parametrize("around", WRAPPERS)
def test_the_atoms_are_the_same(around):
    def d1(around):
        return atoms(attached(around, "l0_inf", k=2)[0])

    assert torch.equal(d1(around), d1("nothing"))

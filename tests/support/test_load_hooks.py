"""Hooks before loading find their module, also in copies that are made out of arguments."""

import copy
import pickle

import pytest
import torch
from torch import nn

import sparse_plugin
from sparse_plugin.errors import CheckpointError
from sparse_plugin.support.load_hooks import LoadHook, before_loading


class Persistent(nn.Sequential):
    """Copied and pickled by a function that gets all it holds as an argument, as what NVlabs' `persistence` decorates."""

    def __reduce_ex__(self, protocol):
        return revive, (type(self), vars(self))


def revive(cls, held):
    made = cls.__new__(cls)
    vars(made).update(held)
    return made


class Seen(LoadHook):
    def load(self, module, state_dict, prefix):
        module.seen = (prefix, sorted(state_dict))


def make(cls=Persistent):
    torch.manual_seed(0)
    return cls(nn.ConvTranspose2d(8, 16, 4), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))


@pytest.mark.parametrize("cls", [nn.Sequential, Persistent])
def test_the_module_is_the_one_that_is_loaded_into(cls):
    first, outer = make(cls), nn.ModuleDict()
    handle = before_loading(first, Seen())
    made = [first]
    for _ in range(3):
        made.append(copy.deepcopy(made[-1]))
    made.append(pickle.loads(pickle.dumps(made[-1])))
    for module in made:
        outer["inner"] = module
        outer.load_state_dict(outer.state_dict())
        assert vars(module).pop("seen")[0] == "inner."
    handle.remove()
    first.load_state_dict(first.state_dict())
    assert not hasattr(first, "seen")


def test_copies_of_copies_are_attached_and_compare_what_is_loaded():
    generator, other = make(), make()
    z = torch.randn(4, 8, 1, 1)
    sparse_plugin.attach(generator, "l0_inf", k=2, example_input=z)
    sparse_plugin.attach(other, "l0_inf", k=3, example_input=z)
    average = copy.deepcopy(generator)
    saved = copy.deepcopy(average)
    revived = pickle.loads(pickle.dumps(copy.deepcopy(saved)))
    for twin in (average, saved, revived):
        seen = []
        twin[2].register_forward_hook(lambda module, args, out, seen=seen: seen.append(int((args[0] != 0).sum(1).max())))
        assert torch.equal(twin(z), generator(z)) and seen == [2]
        twin.load_state_dict(generator.state_dict())
        with pytest.raises(CheckpointError, match="attach the same"):
            twin.load_state_dict(other.state_dict())

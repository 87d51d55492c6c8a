"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import pickle

import torch


class _LegacyUnpickler(pickle.Unpickler):
    pass


def load_network_pkl(f, force_fp16=False):
    data = _LegacyUnpickler(f).load()
    assert all(isinstance(data[name], torch.nn.Module) for name in ("G", "D", "G_ema"))
    return data

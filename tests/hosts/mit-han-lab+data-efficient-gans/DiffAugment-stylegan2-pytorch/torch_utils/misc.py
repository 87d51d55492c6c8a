"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import contextlib

import numpy as np
import torch


class InfiniteSampler(torch.utils.data.Sampler):
    def __init__(self, dataset, rank=0, num_replicas=1, shuffle=True, seed=0, window_size=0.5):
        self.dataset, self.rank, self.num_replicas, self.seed = dataset, rank, num_replicas, seed

    def __iter__(self):
        rnd = np.random.RandomState(self.seed)
        while True:
            yield from rnd.permutation(len(self.dataset))[self.rank :: self.num_replicas].tolist()


def named_params_and_buffers(module):
    return list(module.named_parameters()) + list(module.named_buffers())


def copy_params_and_buffers(src_module, dst_module, require_all=False):
    src_tensors = dict(named_params_and_buffers(src_module))
    for name, tensor in named_params_and_buffers(dst_module):
        assert (name in src_tensors) or (not require_all)
        if name in src_tensors:
            tensor.copy_(src_tensors[name].detach()).requires_grad_(tensor.requires_grad)


@contextlib.contextmanager
def ddp_sync(module, sync):
    if sync or not isinstance(module, torch.nn.parallel.DistributedDataParallel):
        yield
    else:
        with module.no_sync():
            yield


def print_module_summary(module, inputs, max_nesting=3, skip_redundant=True):
    """A forward, on whatever is in the memory of `inputs`, with hooks on every module."""
    entries = []
    hooks = [
        mod.register_forward_hook(lambda mod, _, outputs: entries.append(type(mod).__name__))
        for mod in module.modules()
    ]
    outputs = module(*inputs)
    for hook in hooks:
        hook.remove()
    print(type(module).__name__, len(entries), sum(p.numel() for p in module.parameters()))
    return outputs

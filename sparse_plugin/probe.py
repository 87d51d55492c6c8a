"""Running a generator's forward without leaving a trace in it or in the random state."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Restores, on leaving, all that a forward of module may change: its modules' attributes (training modes, counters,
    the normalised weight that old spectral norm leaves behind), its buffers, and the random states of torch, Python and
    NumPy. Parameters are not changed by a forward and are left alone.
    """
    modules = list(module.modules())
    attributes = [(m, dict(vars(m))) for m in modules]
    buffers = [(m._buffers, name, b, None if b is None else b.detach().clone()) for m in modules for name, b in m._buffers.items()]
    devices = {t.device for t in (*module.parameters(), *(b for b in module.buffers())) if t.device.type == "cuda"}
    python, numpy = random.getstate(), _numpy_state()
    with torch.random.fork_rng(devices=[d.index or 0 for d in devices]) if devices else _cpu_rng():
        try:
            yield
        finally:
            for m, saved in attributes:
                for name in vars(m).keys() - saved.keys():
                    del vars(m)[name]
                vars(m).update(saved)
            with torch.no_grad():
                for owner, name, buffer, value in buffers:
                    if buffer is not None and value is not None and not _same(buffer, value):
                        buffer.copy_(value)
                    owner[name] = buffer
            random.setstate(python)
            if numpy is not None:
                import numpy as np

                np.random.set_state(numpy)


@contextmanager
def _cpu_rng() -> Iterator[None]:
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _same(buffer: Tensor, value: Tensor) -> bool:
    # A buffer that nothing wrote keeps its version counter too, which autograd graphs of the host may be watching.
    return buffer.shape == value.shape and torch.equal(buffer, value)


def _numpy_state() -> Any:
    numpy = sys.modules.get("numpy")
    return None if numpy is None else numpy.random.get_state()


def forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool = False) -> Any:
    """One undisturbed forward of module; with grad, its output carries the graph that made it."""
    with undisturbed(module), torch.enable_grad() if grad else torch.no_grad():
        return module(*args, **kwargs)

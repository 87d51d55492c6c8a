"""Running a generator's forward without leaving a trace in it or in the random state."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from sparse_plugin import capture
from sparse_plugin.errors import ForwardError, SparsePluginError
from sparse_plugin.wrappers import eager


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Restores, on leaving, all that a forward of module may change: its modules' attributes (training modes, counters,
    the normalised weight that old spectral norm leaves behind), its buffers and parameters (some spectral norms keep their
    power iteration in parameters), and the random states of torch, Python and NumPy.
    """
    modules = list(module.modules())
    attributes = [(m, dict(vars(m))) for m in modules]
    tables: list[dict[str, Any]] = [table for m in modules for table in (m._buffers, m._parameters)]
    tensors = [
        (table, name, tensor, tensor.detach().clone())
        for table in tables
        for name, tensor in table.items()
        if tensor is not None and capture.readable(tensor)
    ]
    devices = sorted({tensor.device.index or 0 for _, _, tensor, _ in tensors if tensor.device.type == "cuda"})
    python, numpy = random.getstate(), _numpy_state()
    with torch.random.fork_rng(devices=devices):
        for module in modules:
            # Buffers are written in place: on clones, so that graphs which hold the real ones never know.
            module._buffers.update(
                {n: b.detach().clone() for n, b in module._buffers.items() if b is not None and capture.readable(b)}
            )
        try:
            yield
        finally:
            for m, saved in attributes:
                for name in vars(m).keys() - saved.keys():
                    del vars(m)[name]
                vars(m).update(saved)
            with torch.no_grad():
                for table, name, tensor, value in tensors:
                    if not _same(tensor, value):
                        with _unsafe_preserve_version_counter(tensor):
                            tensor.copy_(value)
                    table[name] = tensor
            random.setstate(python)
            if numpy is not None:
                import numpy as np

                np.random.set_state(numpy)


def _same(tensor: Tensor, value: Tensor) -> bool:
    return tensor.shape == value.shape and torch.equal(tensor, value)


def _numpy_state() -> Any:
    numpy = sys.modules.get("numpy")
    return None if numpy is None else numpy.random.get_state()


def forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool = False) -> Any:
    """One undisturbed forward of module; with grad, its output carries the graph that made it."""
    with eager(), undisturbed(module), torch.enable_grad() if grad else torch.no_grad():
        try:
            return module(*args, **kwargs)
        except SparsePluginError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            raise ForwardError(
                f"{type(module).__name__} does not run on what it was given: {type(error).__name__}: {said}; give what one of "
                "its forwards takes: a tensor, a tuple of arguments, or a dict of keyword arguments"
            ) from error

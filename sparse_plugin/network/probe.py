"""Running a generator's forward without leaving a trace in it or in the random state."""

from __future__ import annotations

import random
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map

from sparse_plugin.errors import ForwardError, SparsePluginError
from sparse_plugin.network.sites import kernel_owners
from sparse_plugin.network.wrappers import eager
from sparse_plugin.support import capture

# Threads in which a forward runs that shall leave no trace, as often as it is inside another.
_probing: list[int] = []


def probing() -> bool:
    """Whether the running forward of this thread is one that shall leave no trace."""
    return threading.get_ident() in _probing


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Restores, on leaving, all that a forward of module may change: its modules' attributes (training modes, counters,
    the normalised weight that old spectral norm leaves behind), its buffers and parameters (some spectral norms keep their
    power iteration in parameters), and the random states of torch, Python and NumPy.
    """
    # TorchScript keeps tables of its own, in which nothing can be replaced: of it the values are put back alone.
    scripted = [m for m in module.modules() if isinstance(m, torch.jit.ScriptModule)]
    modules = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    attributes = [(m, dict(vars(m))) for m in modules]
    tables: list[dict[str, Any]] = [table for m in modules for table in (m._buffers, m._parameters)]
    tensors = [
        (table, name, tensor, tensor.detach().clone())
        for table in tables
        for name, tensor in table.items()
        if tensor is not None and capture.readable(tensor)
    ]
    inner = [(t, t.detach().clone()) for m in scripted for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))]
    devices = sorted({tensor.device.index or 0 for _, _, tensor, _ in tensors if tensor.device.type == "cuda"})
    me = threading.get_ident()
    with torch.random.fork_rng(devices=devices), random_states(None):
        _probing.append(me)
        for module in modules:
            # Buffers are written in place: on clones, so that graphs which hold the real ones never know.
            module._buffers.update(
                {n: b.detach().clone() for n, b in module._buffers.items() if b is not None and capture.readable(b)}
            )
        try:
            yield
        finally:
            _probing.remove(me)
            for m, saved in attributes:
                for name in vars(m).keys() - saved.keys():
                    del vars(m)[name]
                vars(m).update(saved)
            with torch.no_grad():
                for tensor, value in inner:
                    _put_back(tensor, value)
                for table, name, tensor, value in tensors:
                    _put_back(tensor, value)
                    table[name] = tensor


def _put_back(tensor: Tensor, value: Tensor) -> None:
    if tensor.shape != value.shape or not torch.equal(tensor, value):
        with _unsafe_preserve_version_counter(tensor):
            tensor.copy_(value)


def random_state() -> tuple[Any, Any, Any]:
    """The random states of torch on the CPU, Python and NumPy, out of which a forward may draw which way it takes."""
    numpy = sys.modules.get("numpy")
    return torch.get_rng_state(), random.getstate(), None if numpy is None else numpy.random.get_state()


@contextmanager
def random_states(state: tuple[Any, Any, Any] | None) -> Iterator[None]:
    """Inside, these random states, or those that are there; after it, those that were there before."""
    before = random_state()
    try:
        if state is not None:
            _set_random_state(state)
        yield
    finally:
        _set_random_state(before)


@contextmanager
def undrawn(device: torch.device) -> Iterator[None]:
    """What is drawn at random inside, on this device or none, is not missing after it."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []), random_states(None):
        yield


def _set_random_state(state: tuple[Any, Any, Any]) -> None:
    torch.set_rng_state(state[0])
    random.setstate(state[1])
    if state[2] is not None:
        sys.modules["numpy"].random.set_state(state[2])


@contextmanager
def learning(generator: nn.Module) -> Iterator[None]:
    """Kernels that were frozen, as a copy's are, leave a graph too."""
    frozen = [p for _, m in kernel_owners(generator) for p in m._parameters.values() if p is not None and p.dim() >= 4]
    frozen = [p for p in frozen if p.is_leaf and not p.requires_grad and p.is_floating_point() and not p.is_inference()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def unseen(generator: nn.Module) -> AbstractContextManager[None]:
    """Somebody's own forward hooks, which log or count, see nothing of a look; torch's (spectral norm, shards) act."""
    return _hooks_of(generator, "_forward_hooks", lambda package: package == "torch")


def unattached(module: nn.Module) -> AbstractContextManager[None]:
    """What the plugin attached to module projects nothing."""
    return _hooks_of(module, "_forward_pre_hooks", lambda package: package != __name__.partition(".")[0])


@contextmanager
def _hooks_of(module: nn.Module, table: str, acts: Callable[[str], bool]) -> Iterator[None]:
    """Of the hooks in this table of every module, only those act whose package does; what is registered inside is gone after it."""
    saved = [(inner, getattr(inner, table)) for inner in module.modules()]
    for inner, hooks in saved:
        setattr(inner, table, OrderedDict((key, hook) for key, hook in hooks.items() if acts(_home(hook).partition(".")[0])))
    try:
        yield
    finally:
        for inner, hooks in saved:
            setattr(inner, table, hooks)


def _home(hook: Any) -> str:
    return str(getattr(hook, "__module__", None) or type(hook).__module__)


def _usable(value: Any) -> Any:
    """A tensor that was made in inference mode, as one that autograd can follow."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def forward(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], grad: bool = False, run: Callable[..., Any] | None = None
) -> Any:
    """One undisturbed forward of module; with grad, its output carries the graph that made it. run: what is called instead, a
    method of module or of a part of it.
    """
    if grad and torch.is_inference_mode_enabled():
        with torch.inference_mode(False):
            return forward(module, tree_map(_usable, args), tree_map(_usable, kwargs), grad, run)
    # A checkpoint that the forward is a part of counts what is saved in it, and shall not count what is saved here.
    unsaved = saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor) if grad else nullcontext()
    with eager(), undisturbed(module), unsaved, torch.enable_grad() if grad else torch.no_grad():
        try:
            return (run or module)(*args, **kwargs)
        except SparsePluginError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            raise ForwardError(
                f"{type(module).__name__} does not run on what it was given: {type(error).__name__}: {said}; give what one of "
                "its forwards takes: a tensor, a tuple of arguments, or a dict of keyword arguments"
            ) from error

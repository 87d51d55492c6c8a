"""What may stand around a generator: torch.compile, data parallelism, sharding; and which of it has to come later.

Nothing here imports torch.distributed.fsdp or torch._dynamo: what was not imported wraps nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from sparse_plugin.errors import AttachmentError
from sparse_plugin.network.sites import Site

# The names under which wrappers keep what they wrap, where they stand inside a generator.
SEGMENTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def unwrapped(module: nn.Module) -> nn.Module:
    """The generator itself, out of torch.compile, DataParallel, DistributedDataParallel and FullyShardedDataParallel."""
    while True:
        if isinstance(module, (DataParallel, DistributedDataParallel)):
            module = module.module
        elif isinstance(module, _imported("torch._dynamo.eval_frame", "OptimizedModule")):
            module = module._modules["_orig_mod"]  # type: ignore[assignment]
        elif isinstance(module, _imported("torch.distributed.fsdp", "FullyShardedDataParallel")):
            module = module._modules["_fsdp_wrapped_module"]  # type: ignore[assignment]
        else:
            return module


def plain(name: str) -> str:
    """A dotted name without the segments that wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in SEGMENTS)


def check_order(generator: nn.Module, inserts: bool) -> None:
    """Raises AttachmentError where generator was sharded already, or is to get parameters (inserts) that
    DistributedDataParallel, which has wrapped it already, would not average over processes.
    """
    if any(hasattr(p, "_is_flat_param") or hasattr(p, "_fsdp_flattened") for p in generator.parameters()):
        raise _too_late(generator, "FullyShardedDataParallel(...)")
    sharded = _imported("torch.distributed.fsdp", "FSDPModule")
    if any(isinstance(module, sharded) for module in generator.modules()):
        raise _too_late(generator, "fully_shard(...)")
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    whole = _imported("torch.distributed.fsdp", "FullyShardedDataParallel")
    if _around(generator, whole):
        raise _too_late(generator, "FullyShardedDataParallel(...)")
    if any(type(p).__name__ == "DTensor" for p in generator.parameters()) and _around(generator, sharded):
        raise _too_late(generator, "fully_shard(...)")
    if inserts and _around(generator, (DistributedDataParallel,)):
        raise AttachmentError(
            f"{type(generator).__name__} is wrapped in DistributedDataParallel already, which would not average the gradients "
            "of inserted dictionaries over processes; attach first, then DistributedDataParallel(...)"
        )


def _too_late(generator: nn.Module, by: str) -> AttachmentError:
    return AttachmentError(
        f"the parameters of {type(generator).__name__} were sharded by {by} already, so that it can be neither read nor run by "
        f"itself; attach first, then {by}, then make the optimizer"
    )


def _around(generator: nn.Module, kinds: tuple[type, ...]) -> bool:
    """Whether a living module of one of these kinds holds generator; a module knows nobody who holds it."""
    return any(
        issubclass(type(found), kinds) and any(module is generator for module in nn.Module.modules(found))
        for found in (gc.get_objects() if kinds else ())
    )


def _imported(module: str, name: str) -> tuple[type, ...]:
    """A class of a module of torch's that somebody has imported, for isinstance."""
    found = getattr(sys.modules.get(module), name, None)
    return () if found is None else (found,)


_looks = 0
_stance: Any = None


@contextmanager
def eager() -> Iterator[None]:
    """Inside it everything runs as if torch.compile had not been asked for: hooks that look at a forward would be compiled
    into it.
    """
    global _looks, _stance
    if not _looks and "torch._dynamo" in sys.modules:
        with suppress(RuntimeError):  # inside a compiled call, whose own forward is what runs
            _stance = torch.compiler.set_stance("force_eager")
    _looks += 1
    try:
        yield
    finally:
        _looks -= 1
        if not _looks and _stance is not None:
            stance, _stance = _stance, None
            stance.__exit__(None, None, None)


def forget_compiled() -> None:
    """Have what torch.compile has compiled so far compiled again: hooks that were not there then are not in it, and torch
    does not look for new ones.
    """
    frames = sys.modules.get("torch._dynamo.convert_frame")
    if frames is not None and getattr(getattr(frames, "input_codes", None), "seen", True):
        torch.compiler.reset()


def within(generator: nn.Module, site: str) -> str:
    """A site of a wrapped generator, as in "module.c5", as one of the generator itself."""
    known = {path for path, _ in generator.named_modules()}
    inner = site
    while Site.parse(inner).path not in known:
        first, _, inner = inner.partition(".")
        if first not in ("module", *SEGMENTS):
            return site
    return inner

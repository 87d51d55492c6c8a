"""Checkpoint files that somebody else wrote: reading one, and the state_dicts in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.errors import CheckpointError

# What wrappers put before the names of a state_dict.
_WRAPPERS = ("module.", "_orig_mod.")

# How files of safetensors end, by which they are known.
SAFETENSORS = ".safetensors"

# Of a checkpoint's dicts, in which state_dicts are looked for; a pickle may contain itself.
_DEPTH = 8


def read(checkpoint: str) -> Any:
    """What a checkpoint holds: safetensors, or what torch.load takes with weights_only. Raises CheckpointError."""
    try:
        there = Path(checkpoint).is_file()
    except ValueError:  # a null in the name
        there = False
    if not there:
        if "\0" not in checkpoint and Path(checkpoint).is_dir():
            raise CheckpointError(f"{checkpoint} is a folder, and a checkpoint is a file; name one that is in it")
        raise CheckpointError(f"there is no checkpoint {checkpoint}")
    try:
        if Path(checkpoint).suffix == SAFETENSORS:
            from safetensors.torch import load_file

            return load_file(checkpoint)
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (Exception, RecursionError) as error:  # the readers may raise anything over a damaged file
        raise CheckpointError(f"the checkpoint {checkpoint} cannot be read: {_why(error)}") from None


def _why(error: BaseException) -> str:
    """Why a file cannot be read. What torch says of objects in a pickle is advice to run them, in several lines."""
    said = str(error).strip()
    if "weights_only" in said:
        found = re.search(r"GLOBAL (\S+)", said)
        what = f"it holds objects of Python ({found[1]})" if found else "it is none of torch, or holds objects of Python"
        return f"{what}, which are not loaded, as they may run anything; save the state_dict alone: torch.save(model.state_dict(), FILE)"
    if not said:
        return "it ends too early"
    return said.splitlines()[0] if re.search("[a-z]", said) else "it is no file that torch.save wrote"  # a KeyError's number


def metadata(checkpoint: str) -> dict[str, str] | None:
    """What a safetensors file says of itself."""
    from safetensors import safe_open

    with safe_open(checkpoint, framework="pt") as file:
        found: dict[str, str] | None = file.metadata()
    return found


def dicts(node: Any) -> Iterator[dict[Any, Any]]:
    """Every dict in what a checkpoint holds, each once: a pickle may contain itself."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, (dict, list, tuple)):
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            yield node
        waiting += reversed(list(node.values() if isinstance(node, dict) else node))


def state_dicts(node: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict of tensors by name, below other such dicts, with where it is, as "model.ema"; "" is the whole."""
    if depth <= _DEPTH and isinstance(node, dict) and node and all(isinstance(key, str) for key in node):
        if any(isinstance(value, Tensor) for value in node.values()):
            yield path, node
        for key, value in node.items():
            yield from state_dicts(value, f"{path}.{key}" if path else key, depth + 1)


def unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    """state with the names that the generator itself has: without what DataParallel or torch.compile put before all of them."""
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in state):
            return unwrapped({key[len(prefix) :]: value for key, value in state.items()})
    return dict(state)

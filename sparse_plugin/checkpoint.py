"""Checkpoint files: taking the plugin's settings out of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.inserted import KEY, sentence, strip


def strip_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Write source to target without the plugin's settings, wherever in it they stand. Returns the settings found, or "".

    Takes what `torch.load(weights_only=True)` does, and safetensors. Raises ConfigError where target
    exists, CheckpointError where source cannot be read or holds learned dictionaries.
    """
    import torch

    if Path(target).exists():
        raise ConfigError(f"{target} exists already; name another file, nothing is written over")
    tensors = Path(source).suffix == ".safetensors"
    whole = read(os.fspath(source))
    found: list[str] = []
    for state_dict in _state_dicts(whole):
        clean, settings = strip(state_dict)
        if settings:
            found.append(sentence(settings))
            for key in state_dict.keys() - clean.keys():
                del state_dict[key]
    if tensors:
        from safetensors.torch import save_file

        save_file(whole, target)
    else:
        torch.save(whole, target)
    return ", ".join(dict.fromkeys(found))


def read(checkpoint: str) -> Any:
    """What a checkpoint holds: safetensors, or what torch.load takes with weights_only. Raises CheckpointError."""
    import torch

    if not Path(checkpoint).is_file():
        raise CheckpointError(f"there is no checkpoint {checkpoint}")
    try:
        if Path(checkpoint).suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(checkpoint)
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"the checkpoint {checkpoint} cannot be read: {str(error).splitlines()[0]}") from None


def _state_dicts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if any(isinstance(key, str) and key.endswith(KEY) for key in node):
            yield node
        else:
            for value in node.values():
                yield from _state_dicts(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _state_dicts(value)

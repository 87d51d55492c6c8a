"""Checkpoint files: taking the plugin's settings out of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparse_plugin.attachment.child import KEY, sentence, strip
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.support.files import writing


def strip_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Write source to target without the plugin's settings, wherever in it they stand. Returns the settings found, or "".

    Takes what `torch.load(weights_only=True)` does, and safetensors. Raises ConfigError where target
    exists, CheckpointError where source cannot be read or holds learned dictionaries, OutputError where target cannot be
    written: then there is none.
    """
    import torch

    if os.path.lexists(target):
        raise ConfigError(f"{os.fspath(target)} exists already; name another file, nothing is written over")
    whole = read(os.fspath(source))
    found: list[str] = []
    for state_dict in state_dicts(whole):
        if not any(isinstance(key, str) and key.endswith(KEY) for key in state_dict):
            continue
        clean, settings = strip(state_dict)
        if settings:
            found.append(sentence(settings))
        for key in state_dict.keys() - clean.keys():
            del state_dict[key]
    if Path(source).suffix == ".safetensors":
        from safetensors.torch import save

        content = save(whole, metadata=_metadata(os.fspath(source)))
        with writing(target) as file:
            file.write(content)
    else:
        with writing(target, also=(RuntimeError,)) as file:  # as which torch reports what the system does
            torch.save(whole, file)
    return ", ".join(dict.fromkeys(found))


def read(checkpoint: str) -> Any:
    """What a checkpoint holds: safetensors, or what torch.load takes with weights_only. Raises CheckpointError."""
    import torch

    try:
        there = Path(checkpoint).is_file()
    except ValueError:  # a null in the name
        there = False
    if not there:
        raise CheckpointError(f"there is no checkpoint {checkpoint}")
    try:
        if Path(checkpoint).suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(checkpoint)
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (Exception, RecursionError) as error:  # the readers may raise anything over a damaged file
        said = str(error).strip().splitlines()
        raise CheckpointError(
            f"the checkpoint {checkpoint} cannot be read: {said[0] if said else 'it ends too early'}"
        ) from None


def _metadata(checkpoint: str) -> dict[str, str] | None:
    from safetensors import safe_open

    with safe_open(checkpoint, framework="pt") as file:
        found: dict[str, str] | None = file.metadata()
    return found


def state_dicts(node: Any) -> Iterator[dict[Any, Any]]:
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

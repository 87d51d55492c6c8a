"""Taking the plugin's settings out of a checkpoint file."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from sparse_plugin.attachment.checkpoint_files import SAFETENSORS, dicts, metadata, read
from sparse_plugin.attachment.child import KEY, sentence, strip
from sparse_plugin.errors import ConfigError
from sparse_plugin.support.files import writing


def strip_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Write source to target without the plugin's settings, wherever in it they stand. Returns the settings found, or "".

    Takes what `torch.load(weights_only=True)` does, and safetensors. Raises ConfigError where target exists or is named as of
    the other format, CheckpointError where source cannot be read or holds learned dictionaries, OutputError where target
    cannot be written: then there is none.
    """
    if os.path.lexists(target):
        raise ConfigError(f"{os.fspath(target)} exists already; name another file, nothing is written over")
    kinds = [Path(path).suffix == SAFETENSORS for path in (source, target)]
    if kinds[0] != kinds[1]:
        kept = f"safetensors; name it *{SAFETENSORS}" if kinds[0] else f"a pickle of torch; name it otherwise, as {Path(target).stem}.pth"
        raise ConfigError(f"{os.fspath(target)} would be, as {os.fspath(source)} is, {kept}, as the ending is what readers go by")
    whole = read(os.fspath(source))
    found: list[str] = []
    for state_dict in dicts(whole):
        if not any(isinstance(key, str) and key.endswith(KEY) for key in state_dict):
            continue
        clean, settings = strip(state_dict)
        if settings:
            found.append(sentence(settings))
        for key in state_dict.keys() - clean.keys():
            del state_dict[key]
    if kinds[0]:
        from safetensors.torch import save

        content = save(whole, metadata=metadata(os.fspath(source)))
        with writing(target) as file:
            file.write(content)
    else:
        with writing(target, also=(RuntimeError,)) as file:  # as which torch reports what the system does
            torch.save(whole, file)
    return ", ".join(dict.fromkeys(found))

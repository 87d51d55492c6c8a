"""Checkpoints: one folder a step, written beside its name and then renamed to it, so that it is there whole or not at all.

Each holds safetensors files, one a network and one with the state of all optimizers, and `checkpoint.json`: the step, the
files' hashes, and what else is needed to go on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparse_plugin.errors import CheckpointError, SparsePluginError
from sparse_plugin.support.files import reason, sha256, sync_folder, unwritten

META = "checkpoint.json"
_NAME = re.compile(r"step-(\d+)$")


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in folder, rising."""
    found = (_NAME.match(path.name) for path in folder.glob("step-*"))
    return sorted(int(match[1]) for match in found if match)


def place(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step:07d}"


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    more: Mapping[str, Any],
    keep: int,
    stay: Collection[int] = (),
) -> Path:
    """Write the checkpoint of a step, then delete all but the latest `keep` and those of the steps that are to stay.

    tensors: file name without ending to its tensors, by name. more: JSON, to be read back by `load`.
    Raises OutputError where it cannot be written; those before it are as they were.
    """
    from safetensors import SafetensorError

    target = place(folder, step)
    try:
        _save(folder, step, target, tensors, more)
        for old in steps(folder)[:-keep]:
            if old not in stay:
                shutil.rmtree(place(folder, old))
    except (OSError, SafetensorError) as error:  # a full disk is the latter, too
        with suppress(OSError):
            clean(folder)
        raise unwritten(target, error) from None
    return target


def _save(
    folder: Path, step: int, target: Path, tensors: Mapping[str, Mapping[str, Tensor]], more: Mapping[str, Any]
) -> None:
    from safetensors.torch import save_file

    unfinished = folder / f".step-{step:07d}"
    clean(folder)
    unfinished.mkdir(parents=True)
    meta = unfinished / META
    meta.touch()
    hashes = {}
    for name, group in tensors.items():
        path = unfinished / f"{name}.safetensors"
        # Clones: two entries may share storage, which the format refuses.
        save_file({key: t.detach().to("cpu", copy=True).contiguous() for key, t in group.items()}, path)
        path.chmod(meta.stat().st_mode)  # safetensors makes files that nobody else may read
        hashes[path.name] = sha256(path)
        _sync(path)
    meta.write_text(json.dumps({"step": step, "sha256": hashes, **more}, indent=1), encoding="utf-8")
    _sync(meta)
    sync_folder(unfinished)
    os.rename(unfinished, target)
    sync_folder(folder)


def load(folder: Path, step: int, names: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """What `save` was given for a step: more, and the tensors of the named files, by default of all.

    Raises CheckpointError for a checkpoint that is damaged, or cannot be read, saying what to do.
    """
    path = place(folder, step)
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        hashes: dict[str, str] = meta["sha256"]
        if not isinstance(hashes, dict) or any(Path(file).name != file for file in hashes):
            raise ValueError("it names no files of its own folder")
    except Exception as error:  # whatever JSON of other shapes and depths leads to
        raise _damaged(folder, step, META, error) from None
    wanted = [f"{name}.safetensors" for name in names] or list(hashes)
    return meta, {Path(file).stem: _read(folder, step, file, hashes) for file in wanted}


@contextmanager
def taking(folder: Path, step: int) -> Iterator[None]:
    """Take over what was loaded: whatever is not as `save` was given it raises CheckpointError, as `load` does."""
    try:
        yield
    except SparsePluginError:
        raise
    except Exception as error:  # whatever JSON and tensors of other names and kinds lead to
        said = KeyError(f"it has no {error.args[0]!r}") if isinstance(error, KeyError) else error
        raise _damaged(folder, step, META, said) from None


def _read(folder: Path, step: int, file: str, hashes: Mapping[str, str]) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    path = place(folder, step) / file
    try:
        if sha256(path) != hashes[file]:
            raise ValueError("it has not the hash that was written beside it")
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except Exception as error:  # safetensors has an error class of its own
        raise _damaged(folder, step, file, error) from None


def _damaged(folder: Path, step: int, file: str, error: Exception) -> CheckpointError:
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
    if isinstance(error, (OSError, MemoryError)) and not isinstance(error, missing):  # which says nothing of what it holds
        return CheckpointError(
            f"the checkpoint {place(folder, step)} cannot be read: {file}: {reason(error)}; have it readable, and ask again"
        )
    before = [s for s in steps(folder) if s < step]
    instead = f"to go on from step {before[-1]}" if before else "to start again"
    return CheckpointError(
        f"the checkpoint {place(folder, step)} is damaged: {file}: {reason(error)}; delete that folder {instead}"
    )


def clean(folder: Path) -> None:
    """Delete what a killed run left unfinished."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path)


def optimizer_tensors(role: str, optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as named tensors."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{role}.{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def restore_optimizer(role: str, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the state that `optimizer_tensors` read; its settings stay as they are."""
    groups = optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        owner, index, entry = name.split(".")
        if owner == role:
            like = parameters[int(index)]
            # In the parameter's memory format, by which a fused step walks through both.
            value = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _sync(path: Path) -> None:
    """Have what was written on disk before what is written next."""
    with open(path, "r+b") as file:  # Windows flushes nothing that is open for reading alone
        os.fsync(file.fileno())

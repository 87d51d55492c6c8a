"""The directory of a run: its configuration, its logs, its checkpoints, its samples.

config.json             the complete configuration
log.jsonl               losses and throughput, one line every `log_every` steps
sparsity.jsonl          measurements of Γ, where a regularizer is attached
samples/step-*.png      grids of samples, always from the same noise
checkpoints/step-*/     see `checkpoints`
tensorboard/            where tensorboard is installed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sparse_plugin import __version__
from sparse_plugin.errors import ConfigError
from sparse_plugin.files import lines, make_folder, reason, understood, write
from sparse_plugin.record import FILE as SPARSITY
from sparse_plugin.reference import checkpoints


class BusyError(ConfigError):
    """A directory in which another process is at work."""


VERSION = 1
CONFIG, LOG = "config.json", "log.jsonl"


class _Data(BaseModel):
    fraction: float = Field(gt=0, le=1)


class _Trained(BaseModel):
    """What of a GAN's configuration is read again, by whatever wrote it."""

    model_config = ConfigDict(strict=True)

    arch: str
    size: int
    width: float = Field(gt=0, le=16)
    batch: int
    steps: int
    accumulation: int
    precision: str
    classes: int = Field(ge=0, le=1_000_000)
    sparse: dict[str, Any] | None
    data: _Data
    recipe: dict[str, Any]


class RunDirectory:
    """One run's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    @property
    def step(self) -> int:
        """The step of the latest checkpoint, 0 for none."""
        return (checkpoints.steps(self.checkpoints) or [0])[-1]

    def config(self) -> dict[str, Any]:
        """The configuration. Raises ConfigError where there is none, CheckpointError where it is damaged."""
        path = self.path / CONFIG
        try:
            text = path.read_bytes()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.path} is not the directory of a run: {CONFIG}: {reason(error)}; name one that `train` wrote"
            ) from None
        with understood(path, "name another directory"):
            config = json.loads(text)
        if not isinstance(config, dict) or config.get("version") != VERSION:
            raise ConfigError(
                f"{path} is not of version {VERSION}, which this sparse_plugin reads; name another directory"
            )
        return config

    def trained(self) -> dict[str, Any]:
        """The configuration of the run of a GAN. Raises what `config` does, and CheckpointError where it lacks something."""
        config = self.config()
        with understood(self.path / CONFIG, "name another directory"):
            _Trained.model_validate(config)
        return config

    def open(self, config: Mapping[str, Any]) -> None:
        """Make the directory, or take it up again.

        Raises ConfigError where it holds a run of another configuration, naming what differs, or something else.
        """
        if (self.path / CONFIG).exists():
            self._compare(config)
            return
        if self.path.exists() and (not self.path.is_dir() or any(p.name != _LOCK for p in self.path.iterdir())):
            raise ConfigError(
                f"{self.path} exists and is not the directory of a run; name another, nothing is written over"
            )
        whole = {"version": VERSION, **config, "made_with": {"sparse_plugin": __version__}}
        make_folder(self.path)
        write(self.path / CONFIG, json.dumps(whole, indent=1))

    def _compare(self, config: Mapping[str, Any]) -> None:
        there, here = _flat(self.config()), _flat(json.loads(json.dumps(config)))
        differ = [k for k in (*here, *there) if k not in _FREE and here.get(k) != there.get(k)]
        if differ:
            each = "; ".join(f"{k} is {there.get(k)!r} there and {here.get(k)!r} here" for k in dict.fromkeys(differ))
            raise ConfigError(
                f"{self.path} holds a run of another configuration: {each}; name another directory, or ask for the same"
            )

    def trim(self, step: int) -> None:
        """Forget what the logs say of later steps, which are about to be taken again."""
        for name in (LOG, SPARSITY):
            path = self.path / name
            if path.exists():
                kept = [json.dumps(record) for record in lines(path) if not _after(record, step)]
                write(path, "".join(f"{line}\n" for line in kept))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out of the directory. Raises BusyError where a run is at work in it."""
        try:
            import fcntl
        except ImportError:  # Windows has no lock that a killed process gives back
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be a run's directory: {error.strerror}; name another") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise BusyError(f"a run is at work in {self.path}; wait for it, or name another directory") from None
        try:
            yield
        finally:
            os.close(descriptor)


_LOCK = ".lock"
# What may differ between a run and the one that resumes it.
_FREE = ("version", "made_with.sparse_plugin", "data.name")


def _after(record: Mapping[str, Any], step: int) -> bool:
    taken = record.get("step", 0)
    return isinstance(taken, (int, float)) and taken > step


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat

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

from sparse_plugin import __version__
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.record import FILE as SPARSITY
from sparse_plugin.record import read
from sparse_plugin.reference import checkpoints


class BusyError(ConfigError):
    """A directory in which another process is at work."""


VERSION = 1
CONFIG, LOG = "config.json", "log.jsonl"


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
            config = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{self.path} is not the directory of a run: {CONFIG}: {error.strerror}; name one that `train` wrote"
            ) from None
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}; name another directory") from None
        if not isinstance(config, dict) or config.get("version") != VERSION:
            raise ConfigError(
                f"{path} is not of version {VERSION}, which this sparse_plugin reads; name another directory"
            )
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
        self.path.mkdir(parents=True, exist_ok=True)
        checkpoints.write(self.path / CONFIG, json.dumps(whole, indent=1))

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
                kept = [json.dumps(record) for record in read(path) if record.get("step", 0) <= step]
                checkpoints.write(path, "".join(f"{line}\n" for line in kept))

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


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat

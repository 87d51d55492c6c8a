"""The directory of a run: its configuration, its logs, its checkpoints, its samples.

config.json             the complete configuration
log.jsonl               losses and throughput, one line every `log_every` steps
sparsity.jsonl          measurements of Γ, where a regularizer is attached
samples/step-*.png      grids of samples, always from the same noise
checkpoints/step-*/     see `checkpoints`
tensorboard/            where tensorboard is installed
attempts.jsonl          who trained it, from which step to which; see `attempts`
.lease.*                whose turn it is, as long as a process is at work; see `lease`
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.measurements.log import FILE as SPARSITY
from sparse_plugin.runs import attempts, checkpoints
from sparse_plugin.runs.config import Configuration, RestorationConfig, RunConfig
from sparse_plugin.runs.lease import FILE as LEASE
from sparse_plugin.runs.lease import HeldLease, Lease
from sparse_plugin.support.files import (
    clear_unfinished,
    content,
    is_unfinished,
    lines,
    make_folder,
    reason,
    understood,
    unwritten,
    write,
)
from sparse_plugin.support.progress import move, say
from sparse_plugin.support.version import __version__


class BusyError(ConfigError):
    """A directory in which another process is at work."""


# Seconds before it is said what is waited for.
PATIENCE = 2.0
VERSION = 1
CONFIG, LOG = "config.json", "log.jsonl"


class RunDirectory:
    """One run's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self._lease: Lease | None = None
        self._at = 0  # of the lease: the latest step, 0 before the first

    @property
    def step(self) -> int:
        """The step of the latest checkpoint, 0 for none."""
        return (checkpoints.steps(self.checkpoints) or [0])[-1]

    def values(self) -> dict[str, Any]:
        """The configuration as plain values. Raises ConfigError where there is none, CheckpointError where it is damaged."""
        path = self.path / CONFIG
        try:
            text = content(path)
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

    @property
    def of_gan(self) -> bool:
        """Whether it is of a GAN; others restored images. Raises what `values` does."""
        return "arch" in self.values()

    @property
    def of_restoration(self) -> bool:
        """Whether it is of a restoration. Raises what `values` does."""
        return self.values().get("kind") == RestorationConfig.KIND

    def config(self) -> RunConfig:
        """The configuration of the run of a GAN. Raises what `values` does, and CheckpointError where it lacks something."""
        values = self.values()
        with understood(self.path / CONFIG, "name another directory"):
            return RunConfig.from_json(values)

    def restoration(self) -> RestorationConfig:
        """The configuration of a restoration. Raises as `config` does."""
        values = self.values()
        with understood(self.path / CONFIG, "name another directory"):
            return RestorationConfig.from_json(values)

    def check(self, config: Configuration) -> None:
        """Raise ConfigError where it holds a run of another configuration, naming what differs, or something else."""
        if (self.path / CONFIG).exists():
            self._compare(config)
        elif self.path.exists() and (not self.path.is_dir() or any(not (is_lock(p) or is_unfinished(p)) for p in self.path.iterdir())):
            raise ConfigError(
                f"{self.path} exists and is not the directory of a run; name another, nothing is written over"
            )

    def open(self, config: Configuration) -> None:
        """Make the directory, or take it up again. Raises what `check` does.

        Whatever else can be refused is to be refused before: a run that never began must not be in the way of another.
        """
        self.check(config)
        for folder in (self.path, self.samples):
            clear_unfinished(folder)
        if not (self.path / CONFIG).exists():
            whole = {"version": VERSION, **config.to_json(), "made_with": {"sparse_plugin": __version__}}
            make_folder(self.path)
            write(self.path / CONFIG, json.dumps(whole, indent=1))

    def _compare(self, config: Configuration) -> None:
        there, here = _flat(self.values()), _flat(json.loads(json.dumps(config.to_json())))
        differ = [k for k in (*here, *there) if k not in _FREE and here.get(k) != there.get(k)]
        if differ:
            each = "; ".join(f"{k} is {there.get(k)!r} there and {here.get(k)!r} here" for k in dict.fromkeys(differ))
            raise ConfigError(
                f"{self.path} holds a run of another configuration: {each}; name another directory, or ask for the same"
            )

    def trim(self, step: int, discriminator_steps: int = 1) -> None:
        """Forget what the logs say of later steps, which are about to be taken again.

        discriminator_steps: those of the discriminator, by which what it hands on is logged, to one of the generator.
        """
        last = {"discriminator": step * discriminator_steps}
        for name in (LOG, SPARSITY):
            path = self.path / name
            if path.exists():
                kept = [json.dumps(record) for record in lines(path) if not _after(record, last.get(str(record.get("role")), step))]
                write(path, "".join(f"{line}\n" for line in kept))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others out of the directory, by a `lease`. Raises BusyError where a run is at work in it.

        Whether a process on another host is, its signs of life tell, which may take a while.

        A directory that is made for that and stays empty is removed again, unless another process just looks into it.
        """
        missing: list[Path] = []
        try:
            self._lease = self._taken(missing)
            try:
                yield
            finally:
                held, self._lease = self._lease, None
                self._noted(held)
                held.release()
        finally:
            with suppress(OSError, ValueError):  # which one that is not empty is no reason to say
                for path in missing:
                    path.rmdir()

    def _taken(self, missing: list[Path]) -> Lease:
        """The lease. missing: takes the folders that are made for it."""
        try:
            missing += [path for path in (self.path, *self.path.parents) if not path.exists()]
            taken = self._awaited()
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            failed = unwritten(self.path, error)
            if failed.exit_code == 1:  # the disk's fault, not the name's
                raise failed from None
            raise ConfigError(f"{self.path} cannot be a run's directory: {reason(error)}; name another") from None
        if isinstance(taken, Lease):
            return taken
        by = f" ({taken.owner}, last seen {max(0.0, taken.silent):.0f} s ago)" if taken.owner is not None else ""
        raise BusyError(
            f"a run is at work in {self.path}{by}; wait for it, or name another directory. Of a process on another host that "
            f"died, the directory is free {taken.stale:.0f} s after it was last seen"
        )

    def _awaited(self) -> Lease | HeldLease:
        """The lease, or that of another process as soon as it is known to live: what died elsewhere gives no sign of life."""
        said, tries = False, 1000
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                taken = Lease.take(self.path)
            except (FileNotFoundError, FileExistsError):  # who had made it, or a folder above, for its lease has removed it
                if (tries := tries - 1) and (self.path.is_dir() or not self.path.exists()):
                    continue
                raise
            if isinstance(taken, Lease) or taken.certain:
                return taken
            if not said and taken.silent > PATIENCE:
                said = True
                owner = "whoever has the lease" if taken.owner is None else taken.owner
                say(f"{self.path}: waiting up to {taken.stale:.0f} s for a sign of life of {owner}")
            time.sleep(min(1.0, taken.stale / 100))

    def at(self, step: int, steps: int) -> None:
        """So many steps of so many are done, which the next sign of life says to who watches."""
        move()
        if self._lease is None:
            return
        if not self._at:
            owner = self._lease.mine
            who = {"host": owner.host.partition(" ")[0], "process": owner.process, "lease": owner.token}
            attempts.note(self.path, **{"from": step - 1}, **who)
        self._at = step
        self._lease.at(step, steps)

    def _noted(self, held: Lease) -> None:
        """Say how far this process came, if it took a step and nobody else has the run by now."""
        if self._at and not held.lost:
            attempts.note(self.path, to=self._at, lease=held.mine.token)
        self._at = 0

    def still_ours(self) -> None:
        """Before something is written by which two processes would meet: raises BusyError where another has the lease."""
        if self._lease is not None and self._lease.lost:
            raise BusyError(
                f"{self.path} is in the hands of another process, which found no sign of life of this one; it stops here"
            )


def is_lock(path: Path) -> bool:
    """Whether a file is a lease, a lock of version 0.1, or the log of attempts: what may be there before the run is."""
    return path.name in (".lock", attempts.FILE) or path.name.startswith(LEASE)


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

"""The child named `sparse_plugin` of D1: all that the plugin adds to a generator, so that replicas, copies, optimizers
and checkpoints carry it and the host's own names stay as they were.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.training_step import TrainingStep, most_counted
from sparse_plugin.attachment.untold import before_saving
from sparse_plugin.config import Role, by_registered_name, own_fields
from sparse_plugin.errors import CheckpointError, shown
from sparse_plugin.network.probe import probing
from sparse_plugin.network.sites import CHILD
from sparse_plugin.registry.base import Constraint, Regularizer
from sparse_plugin.registry.composition import parts_of
from sparse_plugin.registry.composition import sentence as sentence
from sparse_plugin.support.capture import readable
from sparse_plugin.support.files import reason

log = logging.getLogger("sparse_plugin")

# How nn.Module spells the key of an extra state.
KEY = f"{CHILD}._extra_state"
# The buffer of what changes over training: the step, the natural density of Γ times its weight, and that weight, 0 or 1.
SCHEDULE = "schedule"
# The buffer of what was counted so far of that density, as long as it is being measured; -1 where nothing was yet.
COUNTED = "counted"
# The buffer of what constraints keep from forward to forward.
MEMORY = "memory"
BUFFERS = (SCHEDULE, COUNTED, MEMORY)

# Of settings as JSON, in bytes.
LONGEST = 1_000_000


class SparseChild(nn.Module):
    """The settings, as an extra state of one float tensor, the inserted dictionaries, if any, and, of a regularizer that
    changes over training, the step that it stands at.
    """

    schedule: Tensor
    counted: Tensor
    memory: Tensor

    def __init__(
        self, regularizer: Regularizer, dictionaries: nn.Module | None, channels: int = 0, role: Role = "generator"
    ) -> None:
        super().__init__()
        self.settings = regularizer.settings()
        if role != "generator":
            self.settings["role"] = role
        self.dictionaries = dictionaries
        self.training_step: TrainingStep | None = None
        if regularizer.scheduled:
            self.training_step = TrainingStep()
            with torch.inference_mode(False):
                self.register_buffer(SCHEDULE, torch.zeros(3))
                self.training_step.owns(self.schedule)
                if count := most_counted(parts_of(regularizer)):
                    self.register_buffer(COUNTED, torch.full((count,), -1.0))
        # By name, where in the buffer the numbers of a part are: the same at every site of as many channels, whatever stands there.
        self.slots: dict[str, slice] = {}
        for part in parts_of(regularizer):
            if count := part.memory + part.memory_per_channel * channels if isinstance(part, Constraint) else 0:
                start = max((slot.stop for slot in self.slots.values()), default=0)
                self.slots[part.name] = slice(start, start + count)
        if self.slots:
            with torch.inference_mode(False):
                self.register_buffer(MEMORY, torch.zeros(max(slot.stop for slot in self.slots.values())))

    def forward(self, gamma: Tensor) -> Tensor:
        """gamma as it is: an empty Sequential that holds this runs it."""
        return gamma

    def acting(self, regularizer: Regularizer, module: nn.Module) -> Regularizer:
        """What regularizer, of the site at module, is at the step of training that the generator stands for."""
        now = self.training_step
        if now is None:
            return regularizer
        if not readable(self.schedule):
            return now.acting(regularizer)
        if not (probing() or getattr(module, "_is_replica", False)) and (made := now.beside(regularizer, self.schedule)) is not None:
            return made
        if not now.trained and not now.over(regularizer):
            now.follow(self.schedule, weight_of(module))
        return now.acting(regularizer)

    def _apply(self, fn: Any, recurse: bool = True) -> SparseChild:
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in exact.items():
            if (now := self.get_buffer(name)).dtype != buffer.dtype:  # half a float cannot count so far
                setattr(self, name, buffer.to(now.device))
        if self.training_step is not None:
            self.training_step.owns(self.schedule)
        return self

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self.training_step is not None:
            self.training_step.owns(self.schedule)

    def _catch_up(self) -> None:
        """An average is saved and copied where it stands, though it was never run; what is trained, at its latest step."""
        before_saving(self)
        if self.training_step is not None and not self.training_step.trained:
            self.training_step.follow(self.schedule)

    def __getstate__(self) -> dict[str, Any]:
        self._catch_up()
        return vars(self).copy()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._catch_up()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def get_extra_state(self) -> Tensor:
        """The settings as JSON, one float a byte: hosts' EMA code copies and averages every entry of a state_dict."""
        return encode(self.settings)

    def set_extra_state(self, state: Any) -> None:
        """Raises CheckpointError where the checkpoint was trained under other settings."""
        theirs = own_fields(decode(state), (*self.settings, "role"))
        if _comparable(theirs) != _comparable(self.settings):
            raise CheckpointError(
                f"this checkpoint was trained with {sentence(theirs)}, and the generator is attached with "
                f"{sentence(self.settings)}; attach the same, or drop the checkpoint's with `sparse-plugin strip`"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing: list[str], *rest: Any
    ) -> None:
        if f"{prefix}_extra_state" not in state_dict:
            self.say_untrained()
            missing = []  # nothing of ours can be in it
        elif COUNTED in self._buffers:  # which came later than the rest
            state_dict.setdefault(f"{prefix}{COUNTED}", torch.full_like(self.counted, -1.0))
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)
        self.read()

    def read(self) -> None:
        """Stand at the step that the buffers tell."""
        if self.training_step is not None:
            self.training_step.owns(self.schedule)
            self.training_step.read(self.schedule)
            if COUNTED in self._buffers:
                self.training_step.recall(self.counted)

    def begin(self, kept: Mapping[str, Tensor]) -> None:
        """Begin with these values of the buffers. Raises CheckpointError for those of another shape."""
        for name, value in kept.items():
            own = self._buffers.get(name)
            if own is None or own.shape != value.shape:
                raise CheckpointError(
                    f"the checkpoint that was loaded holds {name} of shape {tuple(value.shape)} beside its settings, and here there is "
                    f"{'none' if own is None else f'one of shape {tuple(own.shape)}'}: it is of another architecture"
                )
            with torch.no_grad():
                own.copy_(value)
        self.read()

    def say_untrained(self) -> None:
        """Say that a checkpoint without settings was loaded."""
        log.warning(
            "the checkpoint was trained without sparse_plugin; it is loaded into a generator attached with %s",
            sentence(self.settings),
        )

    def extra_repr(self) -> str:
        return sentence(self.settings)


def _comparable(settings: dict[str, Any]) -> str:
    """Settings as text that is the same where they are, NaN among them too."""
    return json.dumps(by_registered_name(settings), sort_keys=True)


def encode(settings: dict[str, Any]) -> Tensor:
    """JSON bytes as float32 values from 0 to 255: exact in every float type, and unharmed by averaging with itself."""
    return torch.tensor(list(json.dumps(settings, sort_keys=True).encode()), dtype=torch.float32)


def decode(state: Any) -> dict[str, Any]:
    """The settings that `encode` wrote. Raises CheckpointError for anything else."""
    try:
        if not isinstance(state, Tensor) or state.dim() != 1 or len(state) > LONGEST:
            raise ValueError(f"it is {shown(state)}, and they are one tensor of up to {LONGEST:,} numbers")
        found = json.loads(bytes(state.float().round().to(torch.uint8).tolist()))
    except Exception as error:  # a meta tensor, text that is no JSON, JSON that is nested too deep
        raise CheckpointError(
            f"the checkpoint's entry {KEY!r} is not sparse_plugin's settings: {reason(error)}"
        ) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"the checkpoint's entry {KEY!r} holds {shown(found)}, not settings")
    return found


def weight_of(module: nn.Module) -> Tensor | None:
    """A weight of the host's below module, by which it is seen that its generator has changed; None where it has none."""
    return next((p for name, p in module.named_parameters() if f".{CHILD}." not in f".{name}"), None)


def begin_where(other: SparseChild, child: SparseChild | None) -> None:
    """Let child stand at the step of training that other does."""
    if child is not None and child.slots and child.memory.shape == other.memory.shape:
        child.memory.copy_(other.memory)
    if child is not None and child.training_step is not None and other.training_step is not None:
        child.training_step.begin_as(other.training_step, child.schedule)


def stand_where(original: nn.Module, average: nn.Module) -> None:
    """Let average, whose weights are those of original over time, stand at the step of training that original does."""
    others = {path: module for path, module in original.named_modules() if isinstance(module, SparseChild)}
    for path, module in average.named_modules():
        if isinstance(module, SparseChild) and path in others:
            begin_where(others[path], module)


def companions(key: str) -> tuple[str, ...]:
    """The keys of the buffers beside the settings' key."""
    return tuple(f"{key[: -len('_extra_state')]}{name}" for name in BUFFERS)


def kept_at(module: nn.Module) -> set[str]:
    """The keys under which the settings stand in module's state_dict."""
    return {f"{path}._extra_state" for path, inner in module.named_modules() if isinstance(inner, SparseChild)}


def places(keys: set[str]) -> str:
    """The module paths of such keys, for people."""
    return ", ".join(sorted(map(place, keys))) or "no place yet"


def place(key: str) -> str:
    """The module path of such a key."""
    return key[: -len(KEY)].rstrip(".")


def own_entries(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """What the plugin added to a state_dict."""
    return {key: value for key, value in state_dict.items() if isinstance(key, str) and f".{CHILD}." in f".{key}"}


def fitting(generator: nn.Module, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Of such entries, those at modules that generator has."""
    paths = {path for path, _ in generator.named_modules()}
    return {key: value for key, value in entries.items() if f".{key}".partition(f".{CHILD}.")[0].lstrip(".") in paths}


def children(generator: nn.Module) -> list[SparseChild]:
    """What the plugin added to generator."""
    return [module for module in generator.modules() if isinstance(module, SparseChild)]


def strip(state_dict: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A state_dict without the plugin's entries, and the settings it was trained with ({} where there are none).

    Raises CheckpointError where dictionaries were inserted: without them the generator is another one.
    """
    ours = own_entries(state_dict)
    learned = [key for key in ours if not key.endswith((KEY, *companions(KEY)))]
    if learned:
        raise CheckpointError(
            f"{learned[0]} is a learned dictionary; without it the generator computes something else, so it stays"
        )
    settings = decode(state_dict[next(key for key in ours if key.endswith(KEY))]) if ours else {}
    return {key: value for key, value in state_dict.items() if key not in ours}, settings

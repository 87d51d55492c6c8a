"""A checkpoint that is loaded into an attached generator: its settings are compared wherever it holds them.

Which modules hold settings differs where one of the two did not know its site yet, or grew further than the other; the same
settings fit all the same, and other ones are refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from sparse_plugin.attachment import vigil
from sparse_plugin.attachment.child import (
    KEY,
    SCHEDULE,
    SparseChild,
    companions,
    encode,
    kept_at,
    place,
    places,
)
from sparse_plugin.errors import CheckpointError
from sparse_plugin.support import advice
from sparse_plugin.support.load_hooks import LoadHook, before_loading


class Loads(LoadHook):
    """A load_state_dict pre-hook of the generator; picklable, and the same for all of them."""

    def load(self, module: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
        """Compare the settings in state_dict with the generator's. Raises CheckpointError where they differ."""
        theirs = {key[len(prefix) :] for key in state_dict if key.startswith(prefix) and key.endswith(KEY)}
        ours = kept_at(module)
        if not theirs or not ours or theirs == ours:
            return  # nothing to compare, or compared entry by entry
        settings = module.get_submodule(min(ours).rpartition(".")[0])
        assert isinstance(settings, SparseChild)
        for key in sorted(theirs):
            settings.set_extra_state(state_dict[prefix + key])
        waiting = ours == {KEY}
        if waiting:
            settings.places = frozenset(theirs)  # type: ignore[assignment]
            settings.kept = {key[: -len("._extra_state")]: _buffers(state_dict, prefix, key) for key in theirs - ours}  # type: ignore[assignment]
        elif theirs != {KEY} and not any(_learned(state_dict, prefix, key) for key in theirs ^ ours):
            _adopt(module, theirs - ours)
            ours = kept_at(module)
        beside = [state_dict.get(prefix + key) for key in companions(_furthest(state_dict, prefix, theirs))]
        for key in theirs - ours:
            if waiting or key == KEY:
                del state_dict[prefix + key]
                for other in companions(key):
                    state_dict.pop(prefix + other, None)
        for key in ours - theirs:
            if not _learned(state_dict, prefix, key):
                state_dict[prefix + key] = encode(settings.settings)
                for other, value in zip(companions(key), beside, strict=True):
                    if value is not None:
                        own = module.get_buffer(other)  # of another shape where it has numbers for other channels
                        same = waiting or getattr(value, "shape", None) == own.shape
                        state_dict[prefix + other] = value if same else own


def _learned(state_dict: dict[str, Any], prefix: str, key: str) -> bool:
    """Whether dictionaries stand beside this entry: they are weights, which cannot be made up."""
    inserted = prefix + key[: -len("_extra_state")]
    return any(name.startswith(f"{inserted}dictionaries.") for name in state_dict)


def _buffers(state_dict: dict[str, Any], prefix: str, key: str) -> dict[str, Tensor]:
    """Copies of what stands beside this entry, by name."""
    found = {other.rpartition(".")[2]: state_dict.get(prefix + other) for other in companions(key)}
    return {name: value.detach().clone() for name, value in found.items() if isinstance(value, Tensor)}


def _furthest(state_dict: dict[str, Any], prefix: str, keys: Collection[str]) -> str:
    """Of these entries the one that was trained furthest: where a part has sites of its own, nothing may change over training there."""

    def step(key: str) -> float:
        schedule = _buffers(state_dict, prefix, key).get(SCHEDULE)
        return float(schedule.flatten()[0]) if schedule is not None and schedule.numel() and not schedule.is_meta else -1.0

    return max(sorted(keys), key=step)


def _adopt(generator: nn.Module, keys: Collection[str]) -> None:
    """The sites that a checkpoint knows beyond the generator's own: it had grown further."""
    modules = dict(generator.named_modules())
    for key in sorted(keys):
        path = key[: -len(KEY)].rstrip(".")
        if path in modules:
            vigil.adopt(generator, path)


def check_places(generator: nn.Module, expected: Collection[str]) -> None:
    """Raises CheckpointError where the settings of a checkpoint that was loaded stood at other modules (none expected: fine)."""
    ours = kept_at(generator)
    if expected and expected != {KEY} and not ours <= set(expected):
        raise CheckpointError(
            f"the checkpoint that was loaded into {type(generator).__name__} was trained with its sites at "
            f"{places(set(expected))}, and here they were found at {places(ours)}; name the checkpoint's, as in "
            f"{advice.sites(*sorted(map(place, expected)))}"
        )


def follow(generator: nn.Module) -> None:
    """Compare what is loaded into generator from now on."""
    if not any(isinstance(_hook(hook), Loads) for hook in generator._load_state_dict_pre_hooks.values()):
        before_loading(generator, Loads())


def unfollow(generator: nn.Module) -> None:
    """Undo `follow`, for generator and whatever of it."""
    for module in generator.modules():
        table = module._load_state_dict_pre_hooks
        for key in [key for key, hook in table.items() if isinstance(_hook(hook), Loads)]:
            del table[key]


def _hook(wrapped: Any) -> Any:
    return getattr(wrapped, "hook", wrapped)

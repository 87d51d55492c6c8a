"""Generators that wait for a checkpoint: what it was trained with is attached before its weights are loaded.

So a host's sampling and evaluation scripts project as in training, and nobody has to say again how.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from sparse_plugin.attachment.child import KEY, decode, kept_at, place, places, sentence
from sparse_plugin.attachment.loading import Loads
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.hosts import current
from sparse_plugin.support import advice
from sparse_plugin.support.load_hooks import LoadHook, before_loading

_waiting: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_guard: Any = None


class Remember(LoadHook):
    """A load_state_dict pre-hook of a generator; picklable, and the same for all of them."""

    def load(self, module: nn.Module, state_dict: dict[str, Any], prefix: str) -> None:
        """Attach the settings in state_dict. Raises CheckpointError where they do not fit the generator."""
        now = current.session()
        keys = {key[len(prefix) :] for key in state_dict if key.startswith(prefix) and key.endswith(KEY)}
        if now is None or not keys or kept_at(module):
            return
        _waiting.discard(module)
        settings = decode(state_dict[prefix + min(keys)])
        handle = now.from_checkpoint(module, settings)
        ours = kept_at(module)
        if ours == {KEY}:  # whose sites its first call tells, and compares with the checkpoint's
            Loads().load(module, state_dict, prefix)
            return
        if ours != keys:
            raise CheckpointError(
                f"this checkpoint was trained with {sentence(settings)} at {places(keys)}, and here it would be attached at "
                f"{places(ours)}; name the sites it was trained with, as in {advice.sites(*sorted(map(place, keys)))}"
            )
        late = _Late(module, handle.parameters(), settings)
        for optimizer in late.optimizers():
            optimizer.register_step_pre_hook(late.step)
            optimizer.register_load_state_dict_pre_hook(late.load)


class _Late:
    """Dictionaries that a checkpoint brought in, after optimizers were made for the generator: they do not train them."""

    def __init__(self, generator: nn.Module, added: list[nn.Parameter], settings: dict[str, Any]) -> None:
        self.name = type(generator).__name__
        self.settings = settings
        self.added = {id(p) for p in added}
        self.others = {id(p) for p in generator.parameters()} - self.added

    def optimizers(self) -> list[Optimizer]:
        """Those that train the generator and not all that was added."""
        if not self.added:
            return []
        return [each for each in gc.get_objects() if issubclass(type(each), Optimizer) and self._misses(each)]

    def _misses(self, optimizer: Optimizer) -> bool:
        trained = {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
        return bool(trained & self.others) and not self.added <= trained

    def step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Before a step. Raises CheckpointError."""
        if self._misses(optimizer):
            raise self._error(optimizer)

    def load(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
        """Before the state of another run is loaded. Raises CheckpointError where that had the dictionaries in it."""
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        if self._misses(optimizer) and sizes != [len(group["params"]) for group in state_dict["param_groups"]]:
            raise self._error(optimizer)

    def _error(self, optimizer: Optimizer) -> CheckpointError:
        return CheckpointError(
            f"this checkpoint was trained with {sentence(self.settings)}, and its dictionaries came into {self.name} after its "
            f"{type(optimizer).__name__} was made, which does not train them; to go on training name the regularizer before, by "
            f"{advice.regularizer(self.settings)}"
        )


def watch(generator: nn.Module) -> None:
    """Attach to generator when a checkpoint that was trained with the plugin is loaded into it, and refuse to train it
    without: a run that was launched to regularize must not go on unregularized.
    """
    global _guard
    before_loading(generator, Remember())
    now = current.session()
    if now is None or not now.config.enabled:
        return
    _waiting.add(generator)
    if _guard is None:
        _guard = register_optimizer_step_pre_hook(_refuse_to_train)
        now.undo.append(_forget)


def _forget() -> None:
    global _guard
    _waiting.clear()
    _guard.remove()
    _guard = None


def _refuse_to_train(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    now = current.session()
    if now is None or not _waiting:
        return
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for generator in _waiting:
        if any(id(p) in trained for p in generator.parameters()):
            raise ConfigError(
                f"{type(generator).__name__} is about to be trained and no regularizer is named; give --sparse NAME to "
                "sparse-plugin run, or name one in the host's own configuration"
            )

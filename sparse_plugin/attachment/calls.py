"""One running call of a generator: what it was called with, and what decides which of its heads makes the image."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.network import probe
from sparse_plugin.network.readers import Source
from sparse_plugin.support import capture

_DEEP = 3  # how far containers are looked into


class GeneratorCall:
    """A running forward of the generator, in one thread. heads: whether it may matter which of several heads is chosen."""

    def __init__(self, generator: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], heads: bool) -> None:
        self.generator, self.args, self.kwargs = generator, args, kwargs
        self.outer: GeneratorCall | None = None  # the call that this one is a part of, where the generator calls itself
        self.passed = False  # whether Γ went through a site
        self.gammas: list[Source] = []  # what made each Γ that did, where there is a graph
        self.since: int = torch._C._autograd._get_sequence_nr()  # that of the first autograd node which it makes
        self.random = probe.random_state() if heads else None  # a depth may be drawn
        self._kinds: dict[bool, Hashable] = {}

    def kind(self, weights: bool = False) -> Hashable:
        """What decides which head makes the image: the words and integers that it was called with, and those which the
        generator and the modules of somebody's own in it hold. weights: single numbers of all sorts too, with which a head may
        be weighted.
        """
        if weights not in self._kinds:
            held: list[Any] = [self.args, self.kwargs, self.generator.training]
            for module in self.generator.modules():
                if module is self.generator or not type(module).__module__.startswith("torch."):
                    held.append({key: value for key, value in vars(module).items() if key[0] != "_"})
                    if weights:
                        held += [module._buffers, module._parameters]
            self._kinds[weights] = tuple(_words(held, _DEEP, weights))
        return self._kinds[weights]


def _words(value: Any, deep: int, weights: bool) -> Iterator[Hashable]:
    if value is None or isinstance(value, (int, str, Enum)) or (weights and isinstance(value, float)):
        yield value
    elif isinstance(value, Tensor):
        if capture.readable(value) and (value.numel() == 1 if weights else _is_integer(value)):
            yield value.item()
    elif isinstance(value, dict) and deep:
        for key, part in value.items():
            if isinstance(key, (int, str, Enum)):
                yield key
            yield from _words(part, deep - 1, weights)
    elif isinstance(value, (tuple, list, set)) and deep:
        for part in value:
            yield from _words(part, deep - 1, weights)


def _is_integer(value: Tensor) -> bool:
    """Whether reading value costs nothing, and it may say which way to take."""
    return value.dim() == 0 and value.device.type == "cpu" and not value.is_floating_point()

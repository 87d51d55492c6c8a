"""What happens to Γ inside a module with a forward of its own: which of its convolutions take it, and which make what it returns.

Recorded below the modules, during a forward that runs anyway, so that no convolution runs once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Convolution:
    """One that ran. gamma: whether Γ comes to it with no other one between; good: what was said of what it takes."""

    gamma: bool
    good: bool


@dataclass(frozen=True)
class _Origin:
    """What a tensor is computed from. gamma: Γ, past no convolution; learned: a weight; by: the convolutions nearest to it."""

    gamma: bool = False
    learned: bool = False
    by: frozenset[int] = frozenset()

    def __or__(self, other: _Origin) -> _Origin:
        return _Origin(self.gamma or other.gamma, self.learned or other.learned, self.by | other.by)


class Inside(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the convolutions by learned kernels that run while it is on; a blur's is none, and passes on what it takes.

    good: what is to be said of a tensor that a convolution takes from Γ.
    """

    def __init__(self, module: nn.Module, gamma: Tensor, good: Callable[[Tensor], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.good = good
        self.ran: list[Convolution] = []
        self._kept: list[Tensor] = []  # an id stands for one tensor as long as it lives
        self._origins: dict[int, _Origin] = {}
        for weight in _weights(module):
            self._set(weight, _Origin(learned=True))
        self._set(gamma, _Origin(gamma=True))

    def begin(self) -> None:
        """Record from now on, in this thread."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Record no more."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def makers(self, output: Tensor) -> list[Convolution]:
        """The convolutions that output is computed from with no other one between."""
        found = self._origins.get(id(output), _Origin())
        return [self.ran[place] for place in sorted(found.by)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [self._origins[id(t)] for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and id(t) in self._origins]
        if not read:
            return out
        origin = _Origin()
        for each in read:
            origin = origin | each
        if "conv" in func._schema.name.rpartition("::")[2] and len(args) > 1 and isinstance(args[1], Tensor):
            origin = self._convolved(args[0], args[1], origin)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._set(tensor, origin)
        return out

    def _convolved(self, taken: Tensor, kernel: Tensor, origin: _Origin) -> _Origin:
        if not self._origins.get(id(kernel), _Origin()).learned:
            return origin
        gamma = self._origins.get(id(taken), _Origin()).gamma
        self.ran.append(Convolution(gamma, not gamma or self.good(taken)))
        return _Origin(learned=True, by=frozenset([len(self.ran) - 1]))

    def _set(self, tensor: Tensor, origin: _Origin) -> None:
        self._kept.append(tensor)
        self._origins[id(tensor)] = origin


def _weights(module: nn.Module) -> Iterator[Tensor]:
    """The tensors that are learned in module, and those which a hook of torch's has made of them for its next forward."""
    for inner in module.modules():
        learned = {name: p for name, p in inner._parameters.items() if p is not None}
        yield from learned.values()
        for name, value in vars(inner).items():
            made = isinstance(value, Tensor) and any(other.startswith(f"{name}_") for other in learned)
            if made or isinstance(value, nn.Parameter):
                yield value


def quiet() -> bool:
    """Whether tensors are what they seem to be to Python: no transform of torch.func wraps them."""
    return torch._C._functorch.peek_interpreter_stack() is None

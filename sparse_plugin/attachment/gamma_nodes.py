"""The autograd nodes through which Γ has passed, by which its penalty finds the loss that was computed from it."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor


class GammaNodes:
    """Those of one site, as long as their graphs live."""

    def __init__(self) -> None:
        self._latest: dict[torch.device, weakref.ref[Any]] = {}  # a DataParallel forward has one a replica
        self._all: list[weakref.ref[Any]] = []
        self._lock = threading.Lock()

    def keep(self, device: torch.device, node: Any) -> None:
        """A forward pass has made node on device."""
        with self._lock:
            self._latest[device] = weakref.ref(node)
            self._all = [ref for ref in self._all if ref() is not None] + [self._latest[device]]

    def all(self) -> list[Any]:
        """The nodes of every forward pass, in order."""
        with self._lock:
            return [node for ref in self._all if (node := ref()) is not None]

    def latest(self) -> list[Any]:
        """The nodes of the latest forward pass."""
        with self._lock:
            return [node for ref in self._latest.values() if (node := ref()) is not None]

    def below(self, loss: Tensor) -> list[Any]:
        """The nodes of all forward passes that loss was computed from, but those left out; where that cannot be told, of the latest."""
        nodes = self.all()
        if len(nodes) < 2:
            return nodes
        graph = _graph(loss.grad_fn)
        return [node for node in nodes if node in graph and not node.left_out] or self.latest()


def _graph(root: Any) -> set[Any]:
    """Every node of the graph of root."""
    seen, todo = set(), [root]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(parent for parent, _ in node.next_functions)
    return seen

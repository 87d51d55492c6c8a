"""What DTensor must know of the operators: along which dimensions they work on each shard by itself."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

_registered = False


def register_for(gamma: Tensor) -> None:
    """Tell DTensor the rules, before the first one comes; any other tensor costs a look."""
    global _registered
    module = sys.modules.get("torch.distributed.tensor")
    if _registered or module is None or not isinstance(gamma, module.DTensor):
        return
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.experimental import register_sharding

    def rule(first: int, *others: Any) -> Any:
        """Samples are independent, and so are positions from dimension `first` on; anything else is gathered."""

        def strategies(gamma: Any, *rest: Any) -> Any:
            placements = [Replicate(), Shard(0), *(Shard(dim) for dim in range(first, gamma.ndim))]
            return [([place], [place, *(place if other else None for other in others)]) for place in placements]

        return strategies

    operators = torch.ops.sparse_plugin
    register_sharding(operators.project_needles.default)(rule(2, False))
    register_sharding(operators.project_samples.default)(rule(99, False))
    register_sharding(operators.mask_gradient.default)(rule(1, True))
    _registered = True

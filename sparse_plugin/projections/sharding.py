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

    def rule(apart: slice, *others: Any) -> Any:
        """Samples are independent, and so are the dimensions `apart`; anything else is gathered."""

        def strategies(gamma: Any, *rest: Any) -> Any:
            placements = [Replicate(), Shard(0), *(Shard(dim) for dim in range(gamma.ndim)[apart])]
            return [([place], [place, *(place if other else None for other in others)]) for place in placements]

        return strategies

    operators = torch.ops.sparse_plugin
    register_sharding(operators.project_needles.default)(rule(slice(2, None), False))
    register_sharding(operators.project_samples.default)(rule(slice(0), False))
    register_sharding(operators.project_channels.default)(rule(slice(1, 2), False))
    register_sharding(operators.mask_gradient.default)(rule(slice(1, None), True))
    _registered = True

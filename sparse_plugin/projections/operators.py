"""The operators of `torch.ops.sparse_plugin`: what compilation, export, vmap and autocast know of the projections.

    project_needles(gamma, k)    project_samples(gamma, k)    project_channels(gamma, k)    mask_gradient(grad, projected)

None aliases its input, and each returns fresh memory in the memory format of Γ. Autocast leaves them alone: a
projection selects, so it runs in the type that its input has. `mask_gradient`
is grad where the projection is not zero; see `derivatives`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.projections import derivatives, dispatch

_LIBRARY: Any = torch.library.Library("sparse_plugin", "DEF")  # type: ignore[no-untyped-call]


def _define(name: str, signature: str, implementation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    _LIBRARY.define(f"{name}({signature}) -> Tensor")
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    for key in ("AutocastCPU", "AutocastCUDA"):
        _LIBRARY.impl(name, torch.library.fallthrough_kernel, key)
    operator: Callable[..., Tensor] = getattr(torch.ops.sparse_plugin, name).default
    return operator


l0_inf = _define("project_needles", "Tensor gamma, SymInt k", dispatch.l0_inf)
l0 = _define("project_samples", "Tensor gamma, SymInt k", dispatch.l0)
l0_channel = _define("project_channels", "Tensor gamma, SymInt k", dispatch.l0_channel)
mask = _define("mask_gradient", "Tensor grad, Tensor projected", dispatch.mask)


def _merged(project: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, int]]:
    """The vmap rule of a projection: the mapped dimension is merged into the samples, which are independent."""

    def rule(info: Any, in_dims: tuple[int | None, None], gamma: Tensor, k: int) -> tuple[Tensor, int]:
        if in_dims[0] is None:
            return project(gamma, k).expand(info.batch_size, *gamma.shape), 0
        batched = gamma.movedim(in_dims[0], 0)
        return project(batched.flatten(0, 1), k).view(batched.shape), 0

    return rule


def _mask_rule(
    info: Any, in_dims: tuple[int | None, int | None], grad: Tensor, projected: Tensor
) -> tuple[Tensor, int]:
    """The vmap rule of the gradient: elementwise, so both sides only need the same shape."""
    sides = [
        side.expand(info.batch_size, *side.shape) if dim is None else side.movedim(dim, 0)
        for side, dim in zip((grad, projected), in_dims, strict=True)
    ]
    return mask(*sides), 0


for _name, _operator in (("project_needles", l0_inf), ("project_samples", l0), ("project_channels", l0_channel)):
    _full = f"sparse_plugin::{_name}"
    _LIBRARY.impl(_name, derivatives.of_projection(_operator, mask), "Autograd")
    torch.library.register_fake(_full, lambda gamma, k: torch.empty_like(gamma), lib=_LIBRARY)
    torch.library.register_vmap(_full, _merged(_operator), lib=_LIBRARY)
_LIBRARY.impl("mask_gradient", derivatives.of_mask(mask), "Autograd")
torch.library.register_fake(
    "sparse_plugin::mask_gradient", lambda grad, projected: torch.empty_like(projected), lib=_LIBRARY
)
torch.library.register_vmap("sparse_plugin::mask_gradient", _mask_rule, lib=_LIBRARY)

"""How a penalty reaches the generator's loss.

By `loss`: Γ passes through `identities.Hold`, whose node keeps it as long as the graph lives; whoever computes the generator's
loss takes the penalty of that Γ and adds it. By `gradient`: Γ passes through `identities.AddGradient`, whose backward adds the
penalty's gradient, so that no host code need know.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from sparse_plugin.attachment import returned
from sparse_plugin.support.compiled import constant

log = logging.getLogger("sparse_plugin")

_said: set[str] = set()


class Penalized(Protocol):
    """A penalty as a function of a tensor: of Γ, or, where it is one on atoms, of these."""

    def penalty(self, gamma: Tensor, /) -> Tensor:
        """A scalar."""


def value(penalty: Penalized, gamma: Tensor) -> Tensor:
    """The penalty of gamma, in float32 at least: half precision overflows a sum over Γ. Raises PenaltyError for what is no term."""
    device = gamma.device.type
    with torch.autocast(device, enabled=False) if _has_autocast(device) else nullcontext():
        wide = gamma.float() if gamma.dtype in (torch.float16, torch.bfloat16) else gamma
        return returned.scalar(penalty, wide, penalty.penalty(wide))


@constant  # what it asks is more than the Dynamo of torch 2.6 follows
def _has_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device)


def say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        log.warning(text)

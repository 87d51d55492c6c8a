"""The synthesis operator of an attached generator's D1, as the host's own module applies it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from sparse_plugin.attachment.hooks import remove
from sparse_plugin.dictionary.operator import SynthesisOperator
from sparse_plugin.network.synthesis import operator_of
from sparse_plugin.support import capture


def unhooked_operator(module: nn.Module, grad: bool = False) -> SynthesisOperator:
    """`operator_of` of a module that the plugin's hooks stand at."""
    with _unhooked(module):
        return operator_of(module, grad)


@contextmanager
def _unhooked(module: nn.Module) -> Iterator[None]:
    """module as the host left it, for a look at the convolution itself; its own hooks (spectral norm) stay."""
    dicts: list[dict[int, Any]] = [
        module._forward_pre_hooks,
        module._forward_hooks,
        module._forward_pre_hooks_with_kwargs,
        module._forward_hooks_with_kwargs,
    ]
    saved = [dict(d) for d in dicts]
    remove(module, capture.Unscriptable)
    try:
        yield
    finally:
        for d, before in zip(dicts, saved, strict=True):
            d.clear()
            d.update(before)

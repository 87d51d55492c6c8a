"""The k of other sites that distorts a generator's images as much as a given one at D1 (after LAMP, arXiv 2010.07611)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.attach import attach
from sparse_plugin.config import SparsityConfig
from sparse_plugin.network import detection
from sparse_plugin.network.images import image_of
from sparse_plugin.network.probe import undisturbed
from sparse_plugin.registry.auto import DENSE
from sparse_plugin.tune.candidates import rounded
from sparse_plugin.tune.target import Site

# How many further sites are raced: those that run last before D1.
MOST = 2
# Halvings of the interval of k.
_HALVINGS = 9


def further_sites(generator: nn.Module, inputs: Sequence[Any]) -> list[Site]:
    """The sites beside D1 that `sites` lists as possible: modules with a kernel that run once in a forward, before D1, on a
    map of several positions whose density shows that it is sparse by nature. The last ones before D1.
    """
    found = detection.trace(generator, *inputs)
    makers = {candidate.path for candidate in found.makers}
    last = max((candidate.order for candidate in found.candidates if candidate.path in makers), default=-1)
    possible = [
        candidate
        for candidate in found.candidates
        if candidate.calls == 1
        and candidate.path
        and candidate.order < last
        and candidate.path not in makers
        and len(candidate.gamma) == 4
        and candidate.gamma[2] * candidate.gamma[3] > 1
        and 0 < candidate.density < DENSE
    ]
    return [Site(candidate.path, candidate.density) for candidate in possible[::-1][:MOST]]


def matched_k(
    generator: nn.Module, inputs: Sequence[Any], sparse: SparsityConfig, k: float, site: str
) -> float:
    """The k at a site at which images differ from those of the whole Γ as much, in the mean square, as with k at D1.

    generator: with nothing attached, as it is trained without a regularizer; it is left as it was. inputs: of one forward.
    """
    whole = _images(generator, inputs)

    def distortion(at: SparsityConfig) -> float:
        with attach(generator, at, example_input=tuple(inputs)):
            return float((_images(generator, inputs) - whole).square().mean())

    goal = distortion(sparse.with_(sites=[]).with_settings(k=k))
    return rounded(_bisected(lambda each: distortion(sparse.with_(sites=[site]).with_settings(k=each)) > goal))


def _bisected(too_much: Callable[[float], bool]) -> float:
    """The smallest k in (0, 1], to the digits that count, that is not too much of a distortion, which falls as k grows."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        try:
            over = too_much(middle)
        except ValueError:  # less than one coefficient is left
            over = True
        low, high = (middle, high) if over else (low, middle)
    return high


def _images(generator: nn.Module, inputs: Sequence[Any]) -> Tensor:
    with undisturbed(generator), torch.no_grad():
        image = image_of(generator(*inputs))
    assert image is not None
    return image.float()

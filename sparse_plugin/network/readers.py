"""What the autograd graph of a forward shows of the way to its images: what reads Γ beside D1, and by what it goes.

An image that is computed from Γ past D1 too is more than a dictionary makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Source = tuple[Any, int]  # the autograd node that made a tensor, and which of its outputs it is


def source(tensor: Tensor) -> Source | None:
    """What made tensor; None where it has no graph."""
    return None if tensor.grad_fn is None else (tensor.grad_fn, tensor.output_nr)


def reaches(image: Tensor, gamma: Source, stops: Callable[[Any], bool]) -> bool:
    """Whether image is computed from the tensor of source gamma by a way past all nodes at which stops is true."""
    oldest = gamma[0]._sequence_nr()  # what is older than Γ cannot have been computed from it
    todo: list[Source | None] = [source(image)]
    seen = set()
    while todo:
        edge = todo.pop()
        if edge == gamma:
            return True
        if edge is None or edge[0] is None or edge[0] in seen or edge[0]._sequence_nr() < oldest or stops(edge[0]):
            continue
        seen.add(edge[0])
        todo += edge[0].next_functions
    return False


# Operations of autograd that hand something from one position to another, or of which nothing tells what they do.
_MIXING = ("Upsample", "PixelShuffle", "Softmax", "Attention", "Pool", "GridSampler", "Col2Im", "Roll", "Fft", "Checkpoint", "Compiled")


def mixes_positions(images: Sequence[Tensor]) -> bool:
    """Whether anything but a convolution mixes positions on the way to images: a transformer's attention, a resampling."""
    todo: list[Any] = [image.grad_fn for image in images]
    seen: set[Any] = {None}
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if any(word in node.name() for word in _MIXING):
            return True
        todo.extend(parent for parent, _ in node.next_functions)
    return False


def apart(images: Sequence[Tensor]) -> list[Tensor]:
    """Of the images that a generator returned those which are no step to the first: a code, and an image that is enlarged and added
    to, are smaller than the first, which is computed from them.
    """
    return [image for image in images if image is images[0] or image.shape == images[0].shape or not _is_step(image, images[0])]


def _is_step(image: Tensor, to: Tensor) -> bool:
    """Whether to is computed from image; true where that has no graph, so that nothing tells."""
    made_by = source(image)
    return made_by is None or to.grad_fn is None or reaches(to, made_by, lambda node: False)


def is_linear(output: Tensor, gamma: Tensor) -> bool:
    """Whether output is linear in gamma, but for a bias: its gradient does not depend on gamma."""
    try:
        (slope,) = torch.autograd.grad(output, gamma, torch.ones_like(output), create_graph=True, allow_unused=True)
        if slope is None or not slope.requires_grad:
            return slope is not None
        (bend,) = torch.autograd.grad(slope, gamma, torch.ones_like(slope), allow_unused=True)
    except RuntimeError:  # without a second derivative
        return False
    return bend is None

"""What an image was made by, as the autograd graph of a real call shows it: every convolution that it is computed from with no
other between.

The graph is there anyway where a generator is trained, and the walk through it ends at the image's own convolution.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.looks import muted
from sparse_plugin.network.images import blocks, image_of, makes
from sparse_plugin.network.readers import Source, reaches
from sparse_plugin.support import capture

_KEY = "sparse_plugin"  # in the metadata of an autograd node, which live as long as the node
# What ends the walk because nobody can look into it.
_OPAQUE = ("CompiledFunction", "CheckpointFunction")


class Made(capture.Unscriptable):
    """A forward hook on a module that makes images: marks what comes out of it. regularized: whether a site is its input; None of
    one that only filters an image, whose maker is sought before it.
    """

    def __init__(self, regularized: bool | None) -> None:
        self.regularized = regularized

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_dynamo_compiling() or not torch.is_grad_enabled() or threading.get_ident() in muted:
            return
        image = output if isinstance(output, Tensor) else image_of(output if isinstance(output, (tuple, list, dict)) else ())
        node: Any = None if image is None else image.grad_fn
        if node is not None:
            node.metadata.setdefault(_KEY, self.regularized)


def unknown(image: Tensor, since: int) -> bool:
    """Whether a convolution that is no marked site makes this image, or some of its samples.

    since: the sequence number of the first node of the call; what is older, such as an image that was handed in, is not its.
    """
    todo: list[Any] = [image.grad_fn]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen or node._sequence_nr() < since:
            continue
        seen.add(node)
        filtered = _KEY in node.metadata and node.metadata[_KEY] is None
        regularized = node.metadata.get(_KEY)
        name = node.name()
        if regularized or name.startswith(_OPAQUE):
            continue
        if filtered or (regularized is None and not _learned_convolution(node, name)):
            todo.extend(parent for parent, _ in node.next_functions)
        elif _shaped(node, image):
            return True
    return False


def reads(image: Tensor, gamma: Source) -> bool:
    """Whether image is computed from the Γ that gamma made past all modules that make images, sites or not."""
    return reaches(image, gamma, lambda node: node.metadata.get(_KEY) is not None or node.name().startswith(_OPAQUE))


def _learned_convolution(node: Any, name: str) -> bool:
    """Whether node is a convolution by a kernel that is learned; a blur's is none."""
    return "Conv" in name and len(node.next_functions) > 1 and node.next_functions[1][0] is not None


def _shaped(node: Any, image: Tensor) -> bool:
    made = getattr(node, "_input_metadata", ())
    size = tuple(made[0].shape) if made else ()
    return makes(size, image.shape) or size[1:] == tuple(image.shape[1:]) or bool(blocks(size, image.shape))

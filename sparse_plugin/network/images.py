"""What is an image: in what a generator returned, and in what a module made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import Module

from sparse_plugin.support import capture


def image_of(output: Any) -> Tensor | None:
    """The image in what a generator returned: of its tensors of 4 or 5 dimensions with 1 to 4 channels, else of all, the
    largest, the first of equals. What has more channels beside an image, such as features, is none.
    """
    images = images_of(output)
    return images[0] if images else None


def images_of(output: Any, deep: int = 5) -> list[Tensor]:
    """The images in what a generator returned: its image, and those that stand beside it in one tuple, list or dict: of the same shape,
    or of fewer pixels, one of each size, as in a pyramid. What is nested deeper, such as an encoder's features, is no image, nor is
    what lies deep levels below.
    """
    if isinstance(output, Tensor):
        return [output] if output.dim() in (4, 5) else []
    parts = [images for part in _parts(output) if (images := images_of(part, deep - 1))] if deep else []
    best = max(parts, key=lambda images: _rank(images[0]), default=[])
    tensors = [part for part in _parts(output) if isinstance(part, Tensor)] if best else []
    if not any(part is best[0] for part in tensors):
        return best
    beside = [part for part in tensors if part.shape == best[0].shape]
    return beside + _smaller(best[0], tensors) if len(beside) < len(tensors) else beside


def _smaller(image: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Those of tensors that are to be the image at lower resolutions; none where two have one shape, as a code's mean and variance."""
    large = capture.sizes(image)
    found: list[Tensor] = []
    for t in tensors if large[1] <= 4 else []:
        size = capture.sizes(t)
        if len(size) == len(large) and size[:2] == large[:2] and _ratio(large[2:], size[2:]) > 1:
            if any(capture.sizes(other) == size for other in found):
                return []
            found.append(t)
    return found


def _ratio(large: Sequence[int], small: Sequence[int]) -> int:
    """How often small goes into large on every axis; 0 where it does not."""
    r = large[-1] // max(1, small[-1])
    return r if [n * r for n in small] == list(large) else 0


def rival_of(image: Tensor, output: Any) -> Tensor | None:
    """What may be the image as well in what a generator returned: a tensor of more channels, where image has not the three of
    a picture.
    """
    channels = _rank(image)[-1]
    if channels in (0, 3):
        return None
    tensors = [output] if isinstance(output, Tensor) else [t for part in _parts(output) for t in images_of(part)]
    many = [t for t in tensors if not _rank(t)[0] and math.prod(t.shape[1:]) > math.prod(image.shape[1:])]
    return max(many, key=_rank, default=None)


def _rank(image: Tensor) -> tuple[bool, int, bool, int]:
    size = math.prod(image.shape[1:])
    # Which axis has the channels of five is not known: frames, samples and slices stand beside them.
    few = [n for n in image.shape[1:-2] if 1 <= n <= 4]
    channels = few[0] if few else 0  # next() with a default is more than the Dynamo of torch 2.6 follows
    return channels > 0, size // max(1, channels), channels in (1, 3), channels


def _parts(output: Any) -> tuple[Any, ...]:
    if isinstance(output, dict):
        return tuple(output.values())
    if isinstance(output, (tuple, list)):
        return tuple(output)
    holds = hasattr(output, "__dict__") and not isinstance(output, (type, Module))  # a record, such as a dataclass
    return tuple(vars(output).values()) if holds else ()


def flat_of(output: Any) -> Tensor | None:
    """Where a generator returned no image: the largest tensor that may be one without its axes, (N, values) or (N, H, W)."""
    tensors = [output] if isinstance(output, Tensor) else [t for t in _parts(output) if isinstance(t, Tensor)]
    flat = [t for t in tensors if t.dim() in (2, 3) and math.prod(t.shape[1:]) >= _FEWEST]
    return max(flat, key=lambda t: math.prod(t.shape[1:]), default=None)


_FEWEST = 16  # pixels of an image; scores and codes of a sample may be fewer


def makes(size: Sequence[int], image: Sequence[int]) -> bool:
    """Whether an output of shape size is the image of shape image, whose batch may have several axes, and which may be laid out flat,
    or without its axes of one.
    """
    size, image = tuple(size), tuple(image)
    if size == image:
        return True
    if len(size) < 4 or math.prod(image) != math.prod(size):
        return False
    if image[:1] == size[:1] and math.prod(size[2:]) > 1 and (len(image) == 2 or len(image) < len(size)):
        return size[1] <= 4 if len(image) == 2 else _thick(size) == _thick(image)
    each = len(size) - 1
    return len(image) > len(size) and image[-each:] == size[1:]


def _thick(size: Sequence[int]) -> list[int]:
    return [length for length in size[1:] if length != 1]


def blocks(size: Sequence[int], image: Sequence[int]) -> int:
    """The r for which an output of shape size has all pixels of an image of shape image, r x r of them in the channels of each of its
    positions, as a pixel shuffle or an inverse wavelet transform lays them out; 0 where it has not.
    """
    if len(size) != 4 or len(image) != 4 or size[0] != image[0] or not size[-1]:
        return 0
    r = image[-1] // size[-1]
    return r if r > 1 and tuple(size[1:]) == (image[1] * r * r, image[2] // r, image[3] // r) else 0

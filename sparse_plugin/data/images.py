"""A set of images in memory: its labels, its subsets, and what identifies it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_plugin.errors import SparsePluginError

# More than any data set has: a label beyond is a mistake, or an attack on the memory.
MAX_CLASSES = 1_000_000


class DataError(SparsePluginError, ValueError):
    """Images that cannot be used as asked: missing, of another size, unlabelled, damaged or hostile."""


def fingerprint(images: Tensor, labels: Tensor | None) -> str:
    """The SHA-256 of pixels (N, 3, H, W), labels (N,) and shapes: equal sets have equal ones, wherever they came from."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().data)
    if labels is not None:
        digest.update(labels.contiguous().numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images, (N, 3, H, W), uint8.

    labels: (N,), int64, each the index of a class in classes; both are None where there are none. name: what they are, for
    people. reading: what was asked of them that decides which they are (see `Source.reading`). Raises DataError where the
    labels do not fit the images or the classes.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] | None
    name: str
    reading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4 or self.images.shape[1] != 3:
            raise DataError(
                f"{self.name}: the images are {tuple(self.images.shape)}, {self.images.dtype}; give (N, 3, H, W), uint8"
            )
        if self.labels is not None and self.classes is not None:
            check_labels(self.labels.numpy(), len(self.images), self.classes, self.name)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    @cached_property
    def fingerprint(self) -> str:
        """See the function `fingerprint`."""
        return fingerprint(self.images, self.labels)

    def subset(self, fraction: float, seed: int = 0) -> Images:
        """A fraction of every class, chosen by seed; the same images in the same order for the same arguments.

        With one seed a smaller fraction is contained in a larger one. Raises DataError unless 0 < fraction <= 1.
        """
        labels = None if self.labels is None else self.labels.numpy()
        chosen = torch.from_numpy(choose(len(self), labels, fraction, seed))
        name = subset_name(self.name, fraction, seed)
        some = None if self.labels is None else self.labels[chosen]
        return replace(self, images=self.images[chosen], labels=some, name=name)


def choose(count: int, labels: npt.NDArray[np.int64] | None, fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """The indices, ascending, of a fraction of every class; of all images alike where labels is None."""
    if not 0 < fraction <= 1:
        raise DataError(f"the fraction of the data is {fraction}; give one in (0, 1], as 0.2")
    if fraction == 1:
        return np.arange(count)
    if not 0 <= seed < 2**32:
        raise DataError(f"a share of the data is chosen by the seed {seed}; give one from 0 to {2**32 - 1}")
    rng = np.random.RandomState(seed)  # the one generator whose stream numpy promises never to change
    groups = [np.arange(count)] if labels is None else [np.flatnonzero(labels == c) for c in np.unique(labels)]
    return np.sort(np.concatenate([rng.permutation(g)[: max(1, round(fraction * len(g)))] for g in groups]))


def subset_name(name: str, fraction: float, seed: int) -> str:
    """The name of a fraction of a set."""
    return name if fraction == 1 else f"{fraction:.6g} of {name} (seed {seed})"


def check_labels(labels: npt.NDArray[np.int64], count: int, classes: tuple[str, ...], name: str) -> None:
    """Raise DataError unless labels are count indices of classes."""
    if labels.shape != (count,):
        raise DataError(f"{name}: there are {count} images and {len(labels)} labels; give one label an image")
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise DataError(
            f"{name}: the labels go from {labels.min()} to {labels.max()}, and there are {len(classes)} classes; "
            "labels are indices of classes, from 0"
        )


def numbered(labels: npt.NDArray[np.int64], name: str) -> tuple[str, ...]:
    """Classes that have no names: 0, 1, ... Raises DataError for labels that number none."""
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise DataError(f"{name}: the labels are no class numbers, from 0 to below {MAX_CLASSES:,}")
    return tuple(map(str, range(int(labels.max()) + 1)))


def to_uint8(images: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """A generator's images, float with values in [low, high], as uint8 from 0 to 255; values outside are clamped.

    Raises DataError where a value is not finite.
    """
    if not bool(images.isfinite().all()):
        raise DataError("the generator's images are not finite (NaN or infinity); its training has diverged")
    return (images.float() - low).mul_(255 / (high - low)).round_().clamp_(0, 255).to(torch.uint8)

"""Batches of images that are kept in memory, in an order that is a function of the seed."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sparse_plugin.errors import ConfigError
from sparse_plugin.gans.augment import flip
from sparse_plugin.gans.objectives import Batch
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.runs.seeds import key


class ImageSet(Protocol):
    """images: uint8 (N, 3, H, W). labels: int64 (N,) from 0, or None."""

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor | None: ...


def check(data: ImageSet, recipe: Recipe) -> int:
    """The number of classes of data, 0 for a recipe that takes none.

    Raises ConfigError for data that the recipe cannot be trained on.
    """
    images, labels, size = data.images, data.labels, recipe.size
    if images.dtype != torch.uint8 or images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
        raise ConfigError(
            f"{recipe.arch} for {size} pixels takes images of uint8 (N, 3, {size}, {size}), and the data are "
            f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}; load them with that size, or ask for another"
        )
    if not recipe.conditional:
        return 0
    if labels is None or len(labels) != len(images) or not len(labels) or int(labels.min()) < 0:
        raise ConfigError(
            f"{recipe.arch} is class-conditional and needs a label from 0 for each image, and the data have "
            f"{'none' if labels is None else 'others'}; give a folder of class folders, or a file with "
            "labels (--label-column names theirs), or take an unconditional one, such as dcgan"
        )
    return max(int(labels.max()) + 1, len(getattr(data, "classes", None) or ()))


def check_batch(batch: int, shards: int, images: int) -> None:
    """Raise ConfigError where a batch does not divide into so many parts, or so many images are fewer than one."""
    if batch % shards:
        raise ConfigError(
            f"a batch of {batch} does not divide into {shards} parts (processes times accumulated passes); give a "
            f"multiple of {shards}"
        )
    if batch // shards < 2:
        raise ConfigError(
            f"a batch of {batch} in {shards} part(s) leaves fewer than 2 images to a part, too few for batch "
            f"normalisation; give at least {2 * shards}"
        )
    if batch > images:
        raise ConfigError(f"a batch of {batch} needs as many images, and there are {images}; give a smaller batch or more data")


class Batches:
    """The batches of a run, by their number from 0 on.

    Each epoch is a permutation that depends on (seed, epoch) alone; what does not fill a batch is left out of it. Nothing
    is remembered between batches, so that any number can be asked for: a resumed run sees what the first would have.

    images and labels are held on device. batch: in total; shards: the parts that each is cut into, one for each process
    and each accumulated pass. Raises ConfigError where a batch does not divide so, or where there is not one.
    """

    def __init__(
        self, data: ImageSet, recipe: Recipe, batch: int, shards: int, seed: int, device: torch.device
    ) -> None:
        check_batch(batch, shards, len(data.images))
        self.images, self.labels = data.images.to(device), None
        if recipe.conditional and data.labels is not None:
            self.labels = data.labels.to(device)
        self.recipe, self.batch, self.shards, self.seed = recipe, batch, shards, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def get(self, number: int, shard: int) -> Batch:
        """One part of a batch, images in the recipe's range. Flips, if the recipe has them, draw from torch's random state."""
        epoch, position = divmod(number, len(self.images) // self.batch)
        part = self.batch // self.shards
        start = position * self.batch + shard * part
        chosen = self._permutation(epoch)[start : start + part]
        images = self.images[chosen]
        if self.recipe.flips:
            images = flip(images)
        pixels = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
        if self.recipe.low:
            pixels.mul_(2).sub_(1)
        return Batch(pixels, None if self.labels is None else self.labels[chosen])

    def _permutation(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            source = torch.Generator().manual_seed(key("order", self.seed, epoch))
            self._order = (epoch, torch.randperm(len(self.images), generator=source).to(self.images.device))
        return self._order[1]

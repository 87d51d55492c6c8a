"""The network of a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.network import SkipNetwork
from sparse_plugin.restore.tasks import Task


def network_of(task: Task, channels: int, width: float, scales: int) -> SkipNetwork:
    """The network that restores images of so many channels, freshly initialised from torch's random state."""
    settings = task.settings
    wide = max(1, round(settings.channels * width))
    return SkipNetwork(
        settings.input_channels,
        channels,
        down=(wide,) * scales,
        skip=wide if settings.skip is None else settings.skip,
        upsample=settings.upsample,
    )


def check_size(task: Task, given: Sequence[int], width: float, scales: int) -> None:
    """Raise ConfigError where the network would reach over more than the restored image. given: (1, C, h, w)."""
    with torch.device("meta"):
        reach = network_of(task, given[1], width, scales).reach
    height, across = task.size(given[2:])
    if min(height, across) < reach:
        raise ConfigError(
            f"the restored image is {across}x{height} and a network of {scales} scales reaches over {reach} pixels; give a "
            "larger image, or fewer scales"
        )

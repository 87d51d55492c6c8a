"""What is restored: a task says how a clean image becomes the one that is given, y = A(x), and with which settings.

The settings are those of Deep Image Prior's own experiments (DmitryUlyanov/deep-image-prior: denoising, inpainting and
super-resolution notebooks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from sparse_plugin.errors import ConfigError
from sparse_plugin.restore.downsample import downsample
from sparse_plugin.restore.network import Upsample
from sparse_plugin.runs.seeds import key

# By which a large image can be restored from a small one.
FACTORS = (2, 3, 4, 6, 8)


@dataclass(frozen=True)
class TaskSettings:
    """The official settings of a task.

    channels: of every scale; skip: of every skip connection, None for as many; input_noise: the standard deviation of the noise
    that is added to the network's input in each iteration, whose own values are in [0, 0.1].
    """

    iterations: int
    input_noise: float
    channels: int = 128
    skip: int | None = 4
    upsample: Upsample = "bilinear"
    input_channels: int = 32
    rate: float = 0.01


class Task:
    """A restoration task. An image is (1, C, H, W) with values in [0, 1]."""

    name: ClassVar[str]

    @property
    def settings(self) -> TaskSettings:
        """The official settings."""
        raise NotImplementedError

    def check(self, given: Sequence[int]) -> None:
        """Raise ConfigError where an image of given height and width is not one for this task."""
        del given

    def size(self, given: Sequence[int]) -> tuple[int, int]:
        """Height and width of the restored image, for those of the given one."""
        return given[0], given[1]

    def observe(self, image: Tensor) -> Tensor:
        """A(x): what would be given, were image the clean one. Differentiable."""
        return image

    @property
    def whole(self) -> Task:
        """The task itself, where this one keeps something of it back."""
        return self

    def known(self, given: Sequence[int]) -> Tensor:
        """Which pixels of an image of given height and width are known: (1, 1, height, width), bool."""
        return torch.ones(1, 1, *given[:2], dtype=torch.bool)

    def residual(self, image: Tensor, given: Tensor) -> Tensor:
        """A(image) - given, zero where nothing is known: of given's shape, differentiable in image."""
        return self.observe(image) - given

    def loss(self, image: Tensor, given: Tensor) -> Tensor:
        """‖A(image) - given‖² over the number of values: a scalar, differentiable in image."""
        return F.mse_loss(self.observe(image), given)

    def complete(self, image: Tensor, given: Tensor) -> Tensor:
        """The restored image, with what is known put into it."""
        del given
        return image

    def identity(self) -> dict[str, Any]:
        """What of the task decides the result, as JSON."""
        return {"name": self.name}


@dataclass(frozen=True)
class Denoise(Task):
    """Noise removal: A is the identity.

    sigma: the noise's standard deviation where pixels go from 0 to 255; it decides that of the input noise, as officially: 1/30 for 25
    and 1/20 for 50 (between them, the nearer one's). Raises ConfigError for one that is negative or above 255.
    """

    name: ClassVar[str] = "denoise"
    sigma: float = 25.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 255:
            raise ConfigError(f"sigma is {self.sigma:g}; give the noise's deviation, 0 to 255, such as 25")

    @property
    def settings(self) -> TaskSettings:
        return TaskSettings(3000, input_noise=1 / 20 if self.sigma > 37.5 else 1 / 30)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "sigma": self.sigma}


@dataclass(frozen=True, eq=False)
class Inpaint(Task):
    """Filling what is missing: A keeps the known pixels and blackens the others; in the result the known ones are as given.

    mask: (H, W); a pixel is known where it is not 0 (False). Raises ConfigError where nothing is known, or nothing missing.
    """

    name: ClassVar[str] = "inpaint"
    mask: npt.NDArray[Any]
    _known: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask)
        if mask.ndim != 2:
            raise ConfigError(f"the mask has the shape {mask.shape}; give (height, width)")
        known = torch.from_numpy(mask != 0)
        if not known.any():
            raise ConfigError("the mask is all zeros: no pixel is known; it is 0 (black) where pixels are to be filled")
        if known.all():
            raise ConfigError("the mask has no zeros: nothing is to be filled; it is 0 (black) where pixels are to be")
        object.__setattr__(self, "_known", known[None, None])

    @property
    def settings(self) -> TaskSettings:
        return TaskSettings(6000, input_noise=0.03, skip=None, upsample="nearest")

    def check(self, given: Sequence[int]) -> None:
        ours = self._known.shape[-2:]
        if tuple(given) != tuple(ours):
            raise ConfigError(
                f"the mask is {ours[1]}x{ours[0]} and the image {given[1]}x{given[0]}; give a mask of the image's size"
            )

    def observe(self, image: Tensor) -> Tensor:
        return image * self._known.to(image.device)

    def known(self, given: Sequence[int]) -> Tensor:
        del given
        return self._known

    def residual(self, image: Tensor, given: Tensor) -> Tensor:
        return self.observe(image) - self.observe(given)

    def loss(self, image: Tensor, given: Tensor) -> Tensor:
        return F.mse_loss(self.observe(image), self.observe(given))

    def complete(self, image: Tensor, given: Tensor) -> Tensor:
        return torch.where(self._known.to(image.device), given, image)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "missing": int((~self._known).sum()), "mask": digest(self._known.numpy())}


@dataclass(frozen=True)
class Upscale(Task):
    """Super-resolution: A is the Lanczos-2 downsampler. Raises ConfigError for a factor that is not one of FACTORS."""

    name: ClassVar[str] = "upscale"
    factor: int = 4

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise ConfigError(f"the factor {self.factor} is not supported; give one of {', '.join(map(str, FACTORS))}")

    @property
    def settings(self) -> TaskSettings:
        # Official for 4 and 8; the others are as the nearer one.
        return TaskSettings(4000, input_noise=0.05) if self.factor > 6 else TaskSettings(2000, input_noise=0.03)

    def size(self, given: Sequence[int]) -> tuple[int, int]:
        return given[0] * self.factor, given[1] * self.factor

    def observe(self, image: Tensor) -> Tensor:
        return downsample(image, self.factor)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "factor": self.factor}


def add_noise(image: npt.NDArray[np.float32], sigma: float, seed: int) -> npt.NDArray[np.float32]:
    """image, values in [0, 1], with Gaussian noise of deviation sigma/255, cut to [0, 1] as in the official protocol."""
    source = np.random.default_rng(key("noise", seed))
    noisy = image + source.normal(scale=sigma / 255, size=image.shape)
    return noisy.clip(0, 1).astype(np.float32)


def digest(array: npt.NDArray[Any]) -> str:
    """What tells arrays apart: 16 hexadecimal digits of the SHA-256 of shape and values."""
    import hashlib

    whole = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()[:16]

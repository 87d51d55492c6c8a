"""Samples of a generator of another codebase, from a checkpoint that it wrote."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparse_plugin.attachment.attach import attach
from sparse_plugin.attachment.checkpoint_files import read, state_dicts, unwrapped
from sparse_plugin.attachment.child import KEY, decode, kept_at, place, places, sentence
from sparse_plugin.config import SparsityConfig
from sparse_plugin.data import DataError, to_uint8
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.hosts.build import build, draw, input_shapes, sides
from sparse_plugin.network.sites import CHILD
from sparse_plugin.support import advice
from sparse_plugin.support.device import device_of
from sparse_plugin.support.files import understood
from sparse_plugin.support.progress import SHORT, Counting


@dataclass(frozen=True)
class GeneratorSpec:
    """How to build a generator and what one forward takes.

    generator: "module:Class". arguments: of its constructor, `VALUE` or `KEY=VALUE`, read as YAML. inputs: shapes of a
    batch, "64x128", or "64:int<10" for labels below 10; by default 64 of the generator's own nz or latent_dim. imports:
    files or modules to import first. key: where in the checkpoint its state_dict is, as in "model.ema"; by default the
    only one that fits. sites: where it was regularized, where that cannot be told. low, high: the range of its images.
    factory: whether `generator` names a function that returns one, instead of a class.
    """

    generator: str
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    key: str | None = None
    sites: tuple[str, ...] = ()
    low: float = -1.0
    high: float = 1.0
    factory: bool = False


def built(spec: GeneratorSpec, device: str | None = None) -> HostSampler:
    """What samples a generator as it is built, which nothing is attached to. Raises ConfigError as `sampler` does."""
    on = device_of(device)
    generator = build(spec.generator, spec.arguments, spec.imports, factory=spec.factory).eval()
    return HostSampler(generator, input_shapes(generator, spec.inputs, 64, spec.generator), spec, on)


def sampler(checkpoint: str | os.PathLike[str], spec: GeneratorSpec, device: str | None = None) -> HostSampler:
    """What samples a generator with a checkpoint's weights, under the regularizer that the checkpoint was trained with.

    device: by default a GPU where there is one.
    Raises ConfigError for a class or arguments that cannot be used, CheckpointError for a checkpoint that cannot be read,
    or does not fit.
    """
    if not -math.inf < spec.low < spec.high < math.inf:
        raise ConfigError(
            f"the range of the images is {spec.low} to {spec.high}; give the lower end first, as in 0 1"
        )
    on = device_of(device)
    generator = build(spec.generator, spec.arguments, spec.imports, factory=spec.factory).eval()
    shapes = input_shapes(generator, spec.inputs, 64, spec.generator)
    state = _fitting(os.fspath(checkpoint), generator, spec.key)
    keys = {key for key in state if key.endswith(KEY)}
    if keys:
        with torch.no_grad():
            _forward(generator, shapes, 2, spec)
        settings = decode(state[min(keys)])
        config = SparsityConfig.from_data(settings, os.fspath(checkpoint))
        if spec.sites:
            config = config.with_(sites=list(spec.sites))
        attach(generator, config, example_input=tuple(draw(text, 2) for text in shapes))
        ours = kept_at(generator)
        if ours != keys:
            raise CheckpointError(
                f"{checkpoint} was trained with {sentence(settings)} at {places(keys)}, and here that would be at "
                f"{places(ours)}; name the sites, as in {advice.sites(*sorted(map(place, keys)))}"
            )
    with understood(checkpoint, "give another one"):
        generator.load_state_dict(state)
    return HostSampler(generator, shapes, spec, on)


class HostSampler:
    """Samples a generator: (n, seed) -> (n, 3, H, W), uint8."""

    def __init__(
        self, generator: nn.Module, shapes: Sequence[str], spec: GeneratorSpec, device: str | torch.device = "cpu"
    ) -> None:
        self.generator, self.shapes, self.spec, self.device = generator.to(device), shapes, spec, device
        self.batch = sides(shapes[0])[0]

    @torch.no_grad()
    def __call__(self, n: int, seed: int) -> Tensor:
        """The same images for the same arguments: all noise, the generator's own too, comes from seed.

        Raises ConfigError where the generator does not run on its inputs, DataError for images that are none, or not in
        the range that was named.
        """
        parts: list[Tensor] = []
        with torch.random.fork_rng(), Counting(f"sampling {n} images", n, after=SHORT) as counting:
            torch.manual_seed(seed)
            for start in range(0, n, self.batch):
                images = self._images(_forward(self.generator, self.shapes, self.batch, self.spec, self.device))
                parts.append(to_uint8(images, self.spec.low, self.spec.high)[: n - start].cpu())
                if not start:
                    self._check_range(images)
                counting.advance(self.batch)
        return torch.cat(parts)

    def _images(self, output: Any) -> Tensor:
        images = output[0] if isinstance(output, (tuple, list)) and output else output
        shape = tuple(images.shape) if isinstance(images, Tensor) else ()
        if len(shape) != 4 or shape[1] not in (1, 3) or shape[2] != shape[3]:
            what = shape or type(images).__name__
            raise DataError(f"{self.spec.generator} returns {what}; images are square, (N, 3, H, H) or (N, 1, H, H)")
        grey_or_rgb: Tensor = images
        return grey_or_rgb.expand(-1, 3, -1, -1)

    def _check_range(self, images: Tensor) -> None:
        """A wrong range gives grey or clipped images and a number all the same."""
        negative = bool((images < 0).any())
        if negative != (self.spec.low < 0):
            raise DataError(
                f"the images of {self.spec.generator} go from {images.min():.3g} to {images.max():.3g}, and their range was said "
                f"to be {self.spec.low:g} to {self.spec.high:g}; say which it is, as in --range 0 1"
            )


def _forward(
    generator: nn.Module, shapes: Sequence[str], count: int, spec: GeneratorSpec, device: str | torch.device = "cpu"
) -> Any:
    inputs = [draw(text, count).to(device) for text in shapes]
    try:
        return generator(*inputs)
    except Exception as error:
        raise ConfigError(
            f"{spec.generator} does not run on {', '.join(shapes)}: {type(error).__name__}: {error}; say what it takes by --input"
        ) from None


def _fitting(checkpoint: str, generator: nn.Module, key: str | None) -> dict[str, Any]:
    """The state_dict in a checkpoint that has the generator's names and shapes, wrappers' prefixes aside."""
    found = {path: unwrapped(state) for path, state in state_dicts(read(checkpoint))}
    if not found:
        raise CheckpointError(f"{checkpoint} holds no state_dict")
    if key is not None:
        if key not in found:
            raise CheckpointError(f"{checkpoint} has no state_dict at {key!r}; it has {', '.join(map(repr, found))}")
        found = {key: found[key]}
    expected = _shapes(generator.state_dict())
    differing = {path: expected.items() ^ _shapes(state).items() for path, state in found.items()}
    fitting = [path for path, items in differing.items() if not items]
    if len(fitting) > 1:
        raise CheckpointError(
            f"{checkpoint} has several state_dicts that fit {type(generator).__name__}; name one: "
            + " or ".join(f"--key {path}" for path in fitting)
        )
    if not fitting:
        nearest = min(differing, key=lambda path: len(differing[path]))
        name = min(differing[nearest])[0]
        theirs, ours = (shapes.get(name, "no such entry") for shapes in (_shapes(found[nearest]), expected))
        raise CheckpointError(
            f"no state_dict in {checkpoint} fits {type(generator).__name__}: the nearest, {nearest or 'the whole'}, has for "
            f"{name} {theirs}, and the generator {ours}; give what it was built with by --arg"
        )
    return found[fitting[0]]


def _shapes(state: dict[str, Any]) -> dict[str, str]:
    """The shapes of all entries that are not the plugin's."""
    return {key: str(tuple(getattr(value, "shape", ()))) for key, value in state.items() if CHILD not in key.split(".")}

"""Trained generators: read from a run's directory, and sampled from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from sparse_plugin.attachment.attach import attach
from sparse_plugin.attachment.handle import Attachment
from sparse_plugin.config import SparsityConfig, section_of
from sparse_plugin.data.images import to_uint8
from sparse_plugin.errors import CheckpointError, ConfigError, shown
from sparse_plugin.gans.gan import build, gan
from sparse_plugin.gans.objectives import noise
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.measurements.gamma import Measurement, mean
from sparse_plugin.network.probe import undisturbed
from sparse_plugin.runs import checkpoints
from sparse_plugin.runs.config import RunConfig
from sparse_plugin.runs.rundir import CONFIG, RunDirectory
from sparse_plugin.runs.seeds import key
from sparse_plugin.support.device import device_of
from sparse_plugin.support.files import reason, understood
from sparse_plugin.support.progress import SHORT, Counting

# Samples of one forward pass; of one whose Γ is measured.
BATCH = 100
GLANCE = 64


def images(generator: nn.Module, recipe: Recipe, z: Tensor, labels: Tensor | None) -> Tensor:
    """What a generator makes of z (N, Z) and labels (N,): uint8 (N, 3, size, size), on its device. It is left as it was.

    Normalised by running statistics, or by the batch's own where the recipe says so.
    """
    with undisturbed(generator), torch.no_grad():
        generator.train(recipe.batch_statistics)
        return to_uint8(generator(z, labels), recipe.low)


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator (the averaged one, where the recipe keeps one) after so many steps, attached as it was trained, and in the
    mode in which it is sampled from.
    """

    recipe: Recipe
    config: RunConfig
    step: int
    generator: nn.Module
    device: torch.device

    @property
    def classes(self) -> int:
        """How many classes labels have, 0 for an unconditional GAN."""
        return self.config.classes

    def inputs(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """Noise (count, Z) and labels (count,), uniform over classes; the same on every device, and the first ones for every
        count.
        """
        sources = [torch.Generator().manual_seed(key(what, seed)) for what in ("samples", "sample labels")]
        draws = range(max(1, -(-count // BATCH)))
        z = torch.cat([noise(self.recipe, BATCH, torch.device("cpu"), sources[0]) for _ in draws])[:count]
        if not self.classes:
            return z.to(self.device), None
        labels = torch.cat([torch.randint(self.classes, (BATCH,), generator=sources[1]) for _ in draws])[:count]
        return z.to(self.device), labels.to(self.device)

    def batches(self, count: int, seed: int = 0, batch: int = BATCH) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The inputs of count samples and of those that fill the last batch: a generator that normalises by its batch makes
        each sample in the same company, however many are asked for.
        """
        z, labels = self.inputs(-(-count // batch) * batch, seed)
        for start in range(0, len(z), batch):
            part = slice(start, start + batch)
            yield z[part], None if labels is None else labels[part]

    def sample(self, count: int, seed: int = 0, batch: int = BATCH) -> Iterator[Tensor]:
        """count samples in batches: uint8 (N, 3, size, size) on the generator's device. The last batch is made whole, and cut."""
        for done, inputs in zip(range(0, count, batch), self.batches(count, seed, batch), strict=True):
            yield images(self.generator, self.recipe, *inputs)[: count - done]

    def sampled(self, count: int, seed: int = 0) -> Tensor:
        """The same on the CPU and at once, while a bar counts them."""
        with Counting(f"sampling {count} images", count, after=SHORT) as counting:
            batches = []
            for batch in self.sample(count, seed):
                batches.append(batch.cpu())
                counting.advance(len(batch))
        return torch.cat(batches)

    def measure(self, count: int = GLANCE, seed: int = 0) -> list[Measurement]:
        """Γ of so many samples, rounded up to whole batches of 64; one measurement a level. Where nothing is attached, Γ as
        D1 consumes it.
        """
        attachment = Attachment.of(self.generator)
        if attachment is not None:
            return mean([attachment.measure(*inputs) for inputs in self.batches(count, seed, GLANCE)])
        with attach(self.generator, "l0_inf", k=1.0, example_input=self.inputs(2)) as everything_kept:
            return mean([everything_kept.measure(*inputs) for inputs in self.batches(count, seed, GLANCE)])


def load_trained(run_dir: str | Path, step: int | None = None, device: str | None = None) -> TrainedGenerator:
    """The generator of a run, from its latest checkpoint or that of a step.

    Raises ConfigError where there is no such run or step, CheckpointError where the checkpoint is damaged.
    """
    directory, on = RunDirectory(Path(run_dir)), device_of(device)
    config = directory.config()
    there = checkpoints.steps(directory.checkpoints)
    if not there or (step is not None and step not in there):
        asked = "a checkpoint" if step is None else f"the checkpoint of step {step}"
        what = f"those of steps {', '.join(map(str, there))}" if there else "none"
        raise ConfigError(f"{asked} of {run_dir} was asked for, and there are {what}; name another step, or train on")
    step = there[-1] if step is None else step
    with understood(directory.path / CONFIG, "name another directory"):
        recipe = read_recipe(config.recipe)
        generator = build(recipe, config.width, config.classes).generator.to(on)
    if (attached := section_of(config.sparse, "generator")) is not None:
        labels = torch.zeros(2, dtype=torch.int64, device=on) if config.classes else None
        example = (torch.zeros(2, recipe.z, device=on), labels)
        attach(generator, SparsityConfig.from_data(attached, str(run_dir)), example_input=example)
    name = "generator_average" if recipe.ema else "generator"
    _, tensors = checkpoints.load(directory.checkpoints, step, (name,))
    fill(generator, tensors[name], name)
    generator.requires_grad_(False).train(recipe.batch_statistics)
    return TrainedGenerator(recipe, config, step, generator, on)


def fill(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load a state_dict. Raises CheckpointError where it is of another network."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the checkpoint's {name} is of another network: {reason(error)}") from None


def read_recipe(mapping: Mapping[str, Any]) -> Recipe:
    """A recipe as it stands in a run's configuration. Raises ConfigError for a GAN that is not registered, ValueError for what is
    no recipe.
    """
    kind: type[Recipe] = type(gan(str(mapping["arch"])).recipes[0])
    made: Recipe = TypeAdapter(kind).validate_json(json.dumps(mapping), strict=True)
    if not 0 < made.channels <= 4096 or not 0 < made.z <= 65536:
        raise ValueError(f"there is no {shown(made.arch)} of {made.channels} channels and {made.z} dimensions of noise")
    return made

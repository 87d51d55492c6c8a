"""`train_run`: training a GAN from a configuration, or going on with it.

A run is a function of its configuration and its data: networks are initialised from the seed; the images, the noise and
every other random draw of an update from (seed, step, update, part). So a run that was killed and is resumed from its
latest checkpoint comes to the same bits as one that was not, on the same machine with the same number of threads.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sparse_plugin.config import SparsityConfig
from sparse_plugin.data import Source, load
from sparse_plugin.data.images import fingerprint
from sparse_plugin.errors import ConfigError, OutputError, one_of
from sparse_plugin.gans.batches import ImageSet, check
from sparse_plugin.gans.fastest import AUTO, fastest, said
from sparse_plugin.gans.gan import recipe
from sparse_plugin.gans.recipes import Recipe
from sparse_plugin.gans.trainer import Trainer
from sparse_plugin.runs import checkpoints, environment
from sparse_plugin.runs.config import DataConfig, RunConfig
from sparse_plugin.runs.parallel import Processes, processes
from sparse_plugin.runs.report import TrainingReport
from sparse_plugin.runs.rundir import CONFIG, RunDirectory
from sparse_plugin.runs.sparsity import attachable, check_length
from sparse_plugin.support.optional import need
from sparse_plugin.support.precision import PRECISIONS, tell

log = logging.getLogger("sparse_plugin")


def train_run(
    arch: str,
    run_dir: str | Path,
    data: str | Path | Source | ImageSet | None = None,
    *,
    sparse: SparsityConfig | None = None,
    size: int = 32,
    width: float = 1.0,
    batch: int | None = None,
    steps: int | None = None,
    accumulation: int | None = None,
    seed: int = 0,
    fraction: float = 1.0,
    precision: str = "float32",
    checkpoint_every: int = 1000,
    sample_every: int | None = None,
    log_every: int = 50,
    keep: int = 3,
    keep_at: Collection[int] = (),
    until: int | None = None,
    device: str | None = None,
) -> str:
    """Train a GAN, or go on with a run that is not finished. Returns a sentence: what there is now, and where.

    arch: a registered GAN's name (see `gan`). run_dir: where everything is written. data: what `sparse_plugin.data.load` takes, None for
    photographs that are built in; or an object with `images` and `labels` in memory. sparse: what to attach, None for
    nothing; without settings, with its regularizer's defaults. size: of the images, in pixels. width: multiplies all
    channels. batch, steps, accumulation: instead of the recipe's; batch counts the images of all processes, accumulation
    passes to one update. fraction: the share of the data that is loaded, in (0, 1]. precision: "float32", or "bfloat16" or
    "float16" for automatic mixed precision, or "auto" for whichever of the first two takes less time a step here.
    checkpoint_every, sample_every (by default the same), log_every: in steps.
    keep: so many latest checkpoints stay, and those of the steps keep_at, which are made besides. until: stop after this step,
    with a checkpoint from which a call with a later one, or none, goes on.

    Under torchrun each process takes its part of every batch, and all but the first return "".

    Raises ConfigError for what cannot be trained, and where run_dir holds a run of another configuration; CheckpointError
    for a damaged checkpoint; DivergedError as soon as a loss is not finite, after which the latest checkpoint is still good.
    """
    need("training", "train", "safetensors")
    chosen = recipe(arch, size, fraction)
    numbers = {
        "batch": chosen.batch if batch is None else batch,
        "steps": chosen.steps if steps is None else steps,
        "accumulation": chosen.accumulation if accumulation is None else accumulation,
    }
    every = {
        "checkpoint_every": checkpoint_every,
        "sample_every": checkpoint_every if sample_every is None else sample_every,
        "log_every": log_every,
        "keep": keep,
    }
    _in_range({**numbers, **every}, width, fraction, precision)
    for step in keep_at:
        if not 0 < step <= numbers["steps"]:
            raise ConfigError(
                f"the checkpoint of step {step} is to stay, and the run has {numbers['steps']} steps; give one of them"
            )
    goal = numbers["steps"] if until is None else until
    if not 0 < goal <= numbers["steps"]:
        raise ConfigError(f"the run is to stop after step {goal}, and has {numbers['steps']} steps; give one of them")
    sparse = attachable(sparse, "train", arch)
    check_length(sparse, numbers["steps"], chosen.discriminator_steps)
    images: ImageSet
    if data is None or isinstance(data, (str, Path, Source)):
        images = load(data, size=size, fraction=fraction, seed=seed)
    else:
        images = data
    config = RunConfig(
        arch=arch,
        size=size,
        width=width,
        **numbers,
        precision=precision,
        seed=seed,
        classes=check(images, chosen),
        sparse=None if sparse is None else _identity(sparse),
        data=_described(images, fraction),
        recipe=asdict(chosen),
    )
    return _run(chosen, images, config, sparse, RunDirectory(Path(run_dir)), device, every, keep_at, goal)


def _described(images: ImageSet, fraction: float) -> DataConfig:
    return DataConfig(
        fraction,
        getattr(images, "name", "in memory"),
        len(images.images),
        fingerprint(images.images, images.labels)[:16],
        getattr(images, "reading", {}),
    )


def _run(
    chosen: Recipe,
    images: ImageSet,
    config: RunConfig,
    sparse: SparsityConfig | None,
    directory: RunDirectory,
    device: str | None,
    every: Mapping[str, int],
    keep_at: Collection[int],
    goal: int,
) -> str:
    """Begin a run, go on with it, or find that it is finished. Returns the sentence that says which."""
    with (
        processes(device) as group,
        torch.random.fork_rng([group.device] if group.device.type == "cuda" else []),
        directory.locked() if group.first else nullcontext(),
    ):
        config = replace(config, processes=group.count)
        if config.precision == AUTO:
            config = replace(config, precision=_precision(chosen, images, config, directory, group))
        if group.first:
            directory.check(config)
        unfinished = directory.step < goal
        if group.first:
            _say_gone(directory, keep_at)
        trainer = Trainer(chosen, images, config, sparse, directory, group) if unfinished else None
        if group.first:
            directory.open(config)  # now that nothing is refused any more
        group.wait()
        if trainer is not None:
            if group.first:
                environment.note(directory.path, group.device)
            _train(trainer, directory, group, every, keep_at, goal)
            told = f"the generator is in {checkpoints.place(directory.checkpoints, directory.step)}"
        else:
            checkpoints.load(directory.checkpoints, directory.step)  # what is said to be there is
            told = "nothing was done"
        done = "is finished" if directory.step >= config.steps else f"stopped, of {config.steps} steps"
        return f"{directory.path} {done}: {directory.step} steps of {chosen.title}; {told}" if group.first else ""


def _say_gone(directory: RunDirectory, keep_at: Collection[int]) -> None:
    there = checkpoints.steps(directory.checkpoints)
    gone = [step for step in sorted(keep_at) if step <= directory.step and step not in there]
    if gone:
        steps = ", ".join(map(str, gone))
        log.warning("%s is at step %d and has no checkpoint of step %s any more, which was to stay", directory.path, directory.step, steps)


def _precision(
    chosen: Recipe, images: ImageSet, config: RunConfig, directory: RunDirectory, group: Processes
) -> str:
    """That of the run that is to go on, else the fastest."""
    if (directory.path / CONFIG).is_file():
        return str(directory.values().get("precision"))
    # Without the regularizer, whose measurements would be logged.
    found, seconds = fastest(
        lambda name: Trainer(chosen, images, replace(config, precision=name), None, directory, group), group
    )
    if group.first:
        log.warning("%s", said(found, seconds))
    return found


def _in_range(numbers: Mapping[str, int], width: float, fraction: float, precision: str) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")
    if not 0 < width <= 16:
        raise ConfigError(f"width is {width}; give a factor above 0 and up to 16, 1 for the official network")
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction is {fraction}; give a share above 0 and up to 1, such as 0.2")
    if precision not in (*PRECISIONS, AUTO):
        raise ConfigError(one_of("precision", precision, (*PRECISIONS, AUTO)))


def _identity(sparse: SparsityConfig) -> dict[str, Any]:
    """What of a config decides the result of a run."""
    aside = ("run_dir", "measure_every", "host", "generator", "discriminator", "accumulation")
    found = {name: value for name, value in sparse.flat().items() if name not in (*aside, "beside")}
    for other in sparse.parts()[1:]:
        found["beside"] = _identity(other)
    return found


def _train(
    trainer: Trainer,
    directory: RunDirectory,
    group: Processes,
    every: Mapping[str, int],
    keep_at: Collection[int],
    goal: int,
) -> None:
    """The training loop."""
    start = directory.step
    if start:
        trainer.restore(directory)
    report = None
    if group.first:
        tell(trainer.precision, group.device)
        checkpoints.clean(directory.checkpoints)
        directory.trim(start, trainer.updates_of("discriminator"))
        report = TrainingReport(directory, trainer.recipe.title, start, goal, trainer.batches.batch)
        report.say(f"{directory.path}: {trainer}, from step {start} of {trainer.steps}")
    with report or nullcontext():
        for step in range(start + 1, goal + 1):
            trainer.train_step(step - 1)
            last = step == goal
            logged, saved, shown = (
                last or step % every[f"{what}_every"] == 0 for what in ("log", "checkpoint", "sample")
            )
            saved = saved or step in keep_at
            if logged or saved or group.device.type == "cpu":  # elsewhere, reading a loss waits for the device
                trainer.check_losses(directory)
            if saved:
                trainer.check_weights(step, directory)
            if report is None:
                continue
            if logged or saved or shown:
                directory.still_ours()
            directory.at(step, goal)
            report.tick(step)
            if logged:
                report.log(step, trainer.values())
            if shown:
                report.grid(step, trainer.samples())
            if saved:
                directory.still_ours()
                _save(trainer, directory, step, every["keep"], keep_at)
    group.wait()


def _save(trainer: Trainer, directory: RunDirectory, step: int, keep: int, keep_at: Collection[int]) -> None:
    try:
        trainer.save(directory, step, keep, keep_at)
    except OutputError as error:
        error.args = (f"{error}. The same command goes on {_from(directory.step)}",)
        raise


def _from(step: int) -> str:
    return f"from the checkpoint of step {step}" if step else "from the beginning"

"""`sparse-plugin theory`: the theory's report on a run's generator, or on one of anybody's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.support import advice

if TYPE_CHECKING:
    from torch import nn

    from sparse_plugin.evaluate.sampling import GeneratorSpec
    from sparse_plugin.gans.trained import TrainedGenerator
    from sparse_plugin.theory.report import Theory

# Samples whose Γ is counted where nobody says.
SAMPLES = 64
# Those of one forward of a run's generator: of large images a few fill the memory.
BATCH = 16


def theory(
    target: str | None,
    spec: GeneratorSpec | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    device: str | None = None,
) -> Theory:
    """What the theory says of the dictionaries of target's generator, over so many samples, rounded up to whole batches.

    target: a run directory or a checkpoint of the reference trainer; with `spec`, a checkpoint that another codebase wrote, or
    None for the weights that a factory gives. A generator without a regularizer is looked at as it is. Raises ConfigError
    for a target or settings that cannot be used, CheckpointError for a checkpoint, SiteError where D1 is no one convolution.
    """
    import torch

    if samples < 1:
        raise ConfigError(f"{samples} samples were asked for; ask for 1 or more")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if spec is not None:
            found = _of_host(target, spec, samples, device)
        elif target is None:
            raise ConfigError("nothing was named to be looked at; give a run's directory, a checkpoint, or --factory")
        else:
            found = _of_run(target, samples, seed, device)
    return replace(found, target=target or (spec.generator if spec is not None else ""))


def _of_run(target: str, samples: int, seed: int, device: str | None) -> Theory:
    from sparse_plugin.evaluate.evaluation import of_run

    trained = of_run(target, device)
    if trained is None:
        raise ConfigError(
            f"{target} is neither the directory nor a checkpoint of a run of `train`; name one, or, of another codebase's checkpoint, the "
            f"class of its generator, as in {advice.setting('generator', 'package.module:Generator')}"
        )
    return of_trained(trained, samples, seed)


def of_trained(trained: TrainedGenerator, samples: int = SAMPLES, seed: int = 0) -> Theory:
    """The same of a run's generator that was loaded."""
    inputs = (arguments for arguments in trained.batches(samples, seed, min(BATCH, samples)))
    return _examine(trained.generator, inputs, trained.inputs(2))


def _of_host(target: str | None, spec: GeneratorSpec, samples: int, device: str | None) -> Theory:
    from sparse_plugin.evaluate.sampling import built, sampler
    from sparse_plugin.hosts.build import draw

    made = built(spec, device) if target is None else sampler(target, spec, device)

    def inputs() -> Iterator[tuple[Any, ...]]:
        for _ in range(-(-samples // made.batch)):
            yield tuple(draw(text).to(made.device) for text in made.shapes)

    example = tuple(draw(text, 2).to(made.device) for text in made.shapes)
    return _examine(made.generator, inputs(), example, spec.sites)


def _examine(generator: nn.Module, inputs: Iterator[tuple[Any, ...]], example: tuple[Any, ...], sites: tuple[str, ...] = ()) -> Theory:
    from sparse_plugin.attachment.attach import attach
    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.attachment.theory import examine

    nothing: dict[str, Any] = {}
    batches = ((arguments, nothing) for arguments in inputs)
    found = Attachment.of(generator)
    if found is not None:
        return examine(generator, str(found.regularizer), batches)
    with attach(generator, "l0_inf", k=1.0, example_input=example, sites=sites):
        return examine(generator, "without a regularizer", batches)


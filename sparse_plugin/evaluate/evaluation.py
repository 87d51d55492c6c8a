"""`sparse-plugin evaluate`: the metrics of a run, of a checkpoint, or of images, against real ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sparse_plugin.errors import ConfigError
from sparse_plugin.runs.rundir import CONFIG
from sparse_plugin.support.optional import need

if TYPE_CHECKING:
    from torch import Tensor

    from sparse_plugin.data import Images, Source
    from sparse_plugin.evaluate.sampling import GeneratorSpec
    from sparse_plugin.gans.trained import TrainedGenerator
    from sparse_plugin.metrics import Score

# Of a run's checkpoint, what its samples come from: the first that is there.
SAMPLED = ("generator_average.safetensors", "generator.safetensors")
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")

# Images that are sampled of a generator where nobody says.
SAMPLES = 10_000


class Sampler(Protocol):
    """What draws images of a generator."""

    def __call__(self, n: int, seed: int, /) -> Tensor:
        """n images, (n, 3, H, W), uint8; the same for the same arguments."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a target against data, and the protocol that they depend on."""

    target: str
    scores: dict[str, Score]
    protocol: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: target, scores (value, deviation) and protocol."""
        return asdict(self)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False)

    def to_text(self) -> str:
        """The report as lines for people: a table of the scores and, under it, the protocol."""
        from sparse_plugin.metrics.tables import better

        width = max(map(len, self.scores))
        values = {name: str(score) for name, score in self.scores.items()}
        column = max(map(len, values.values()))
        lines = [self.target]
        for name, value in values.items():
            lines.append(f"  {name:<{width}}  {value:<{column}}  {better(name)} is better")
        lines += ["", *(f"{what}: {how}" for what, how in self.protocol.items())]
        lines.append("compare only numbers with the same protocol; fewer images make every Fréchet distance larger")
        return "\n".join(lines)


def evaluate(
    target: str,
    data: str | Path | Source | None = None,
    *,
    metrics: Iterable[str] = (),
    samples: int | None = None,
    seed: int | None = None,
    inception: str | os.PathLike[str] | None = None,
    weights: Mapping[str, str | os.PathLike[str]] | None = None,
    kid_subset: int | None = None,
    fraction: float = 1.0,
    data_seed: int | None = None,
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    resize: bool = False,
    download: bool = False,
    spec: GeneratorSpec | None = None,
    cache: Path | None = None,
    device: str | None = None,
    save: bool = False,
) -> Evaluation:
    """Measure target against data.

    target: a run directory or a checkpoint of the reference trainer; with `spec`, a checkpoint that another codebase
    wrote; else images: a folder, a zip, an npz, or what else `data.load` takes. data, fraction, data_seed, split,
    image_column, label_column, resize, download: the real images, as for `data.load`, at the target's size; data may be a
    `data.Source`, which says all but the share. samples: how many images are sampled, by default 10,000, by seed; of a
    target that is images, all by default. metrics, inception, weights, kid_subset, cache, device: as for `metrics.Evaluator`. save:
    keep the result in the run's directory (see `outcome`).

    Whatever can be refused is refused before more than one image is sampled: ConfigError for settings, packages and weights,
    CheckpointError for a checkpoint, DataError for images, MetricError for too few of them.
    """
    need("evaluating", "metrics", "numpy", "PIL", "torchvision", "torch_fidelity")
    from sparse_plugin.data import Source, load
    from sparse_plugin.metrics import Evaluator

    if samples is not None and samples < 1:
        raise ConfigError(f"{samples} samples were asked for; ask for 1 or more")
    evaluator = Evaluator(
        metrics, inception=inception, weights=weights, kid_subset=kid_subset, cache=cache, device=device
    )
    if data_seed is not None and fraction == 1:
        raise ConfigError(
            f"a data seed, {data_seed}, chooses the share that a fraction takes, and none is given; give one, or leave it out"
        )
    if save and not (Path(target) / CONFIG).is_file():
        raise ConfigError(
            f"only what a run came to can be kept in it, and {target} is not the directory of a run; leave --save out"
        )
    source = Source.of(
        data, split=split, image_column=image_column, label_column=label_column, resize=resize, download=download
    )
    trained = of_run(target, device) if spec is None else None
    sampler: Sampler | None = None if trained is None else trained.sampled
    if spec is not None:
        sampler = _of_host(target, spec, device)
    if sampler is None and seed is not None:
        raise ConfigError(f"a seed, {seed}, is of samples, and {target} holds images; leave it out")
    sampling = seed or 0

    def real_of(side: int) -> Images:
        return load(source, side, fraction, data_seed or 0)

    if sampler is None:
        images = _images(target, samples)
        generated, real, how = images.images, real_of(images.size[0]), images.name
    else:
        real = real_of(sampler(1, sampling).shape[-1])
        count = SAMPLES if samples is None else samples
        evaluator.check(count, len(real))
        generated, how = sampler(count, sampling), f"sampled with seed {sampling}"
    scores = evaluator.score(generated, real)
    protocol = evaluator.protocol(len(generated), real)
    protocol["generated"] += f": {how}"
    if trained is not None:
        from sparse_plugin.evaluate.reconstruction import scores_of_reconstructions

        scores |= scores_of_reconstructions(trained, evaluator, real)
    if save and trained is not None:
        from sparse_plugin.evaluate import outcome

        outcome.look(Path(target), trained, sampling, scores, protocol)
    return Evaluation(target, scores, protocol)


def _of_host(checkpoint: str, spec: GeneratorSpec, device: str | None) -> Sampler:
    from sparse_plugin.attachment.handle import Attachment
    from sparse_plugin.evaluate.sampling import sampler
    from sparse_plugin.support import advice

    made = sampler(checkpoint, spec, device)
    if spec.sites and Attachment.of(made.generator) is None:
        raise ConfigError(
            f"{advice.sites(*spec.sites)} says where a generator was regularized, and {checkpoint} was trained without "
            "sparse_plugin; leave it out"
        )
    return made


def of_run(target: str, device: str | None) -> TrainedGenerator | None:
    """The generator of a run of the reference trainer, or of one of its checkpoints; None where the target is images."""
    from sparse_plugin.gans.trained import load_trained
    from sparse_plugin.runs import checkpoints

    path = Path(target).expanduser().resolve()
    if path.suffix in CHECKPOINTS and not path.is_dir() and (path.parent / checkpoints.META).is_file():
        whose = next((path.with_name(name) for name in SAMPLED if path.with_name(name).is_file()), None)
        if path != whose:
            raise ConfigError(
                f"{target} is not what the samples of its run come from"
                + (f", which is {whose.name} beside it" if whose else "")
                + f"; name that, or the checkpoint's folder, {Path(target).parent}"
            )
        path = path.parent
    if (path / CONFIG).is_file():
        return load_trained(path, device=device)
    if (path / checkpoints.META).is_file() and path.name.rpartition("-")[2].isdigit():
        return load_trained(path.parents[1], int(path.name.rpartition("-")[2]), device)
    if Path(target).suffix in CHECKPOINTS:
        raise ConfigError(
            f"{target} is no checkpoint of the reference trainer; name the class of its generator, as in "
            '--generator "package.module:Generator"'
        )
    return None


def _images(target: str, samples: int | None) -> Images:
    from dataclasses import replace

    from sparse_plugin.data import DataError, load
    from sparse_plugin.data.splits import SplitError
    from sparse_plugin.metrics.drawn import drawn

    try:
        images = load(target, None)
    except SplitError as error:  # --split is of the real images
        raise DataError(f"{str(error).partition(';')[0]}; name the folder of the one to measure") from None
    if samples is None:
        return images
    if samples > len(images):
        raise DataError(f"{target} holds {len(images)} images and {samples} were asked for; ask for fewer")
    return replace(images, images=drawn(images.images, samples), labels=None, classes=None)

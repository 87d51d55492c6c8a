"""What a finished run came to: its scores and its Γ, kept in RUN/result.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import CheckpointError, ConfigError
from sparse_plugin.evaluate.reconstruction import scores_of_reconstructions
from sparse_plugin.runs.methods import label_of
from sparse_plugin.runs.rundir import CONFIG, RunDirectory
from sparse_plugin.support.files import content, understood, write

if TYPE_CHECKING:
    from sparse_plugin.data import Images
    from sparse_plugin.gans.trained import TrainedGenerator
    from sparse_plugin.metrics import Evaluator, Score
    from sparse_plugin.runs.config import RunConfig

FILE = "result.json"
# Samples whose Γ is looked at.
MEASURED = 512


@dataclass(frozen=True)
class Outcome:
    """run: its directory. config: the run's. step: after which it was measured. scores: value and, where
    it is a mean over subsets, deviation, by metric. protocol: what they depend on. levels: a record a level of Γ (see
    `Measurement.record`) over 512 samples, Γ_1 first; of a vanilla run, Γ_1 as D1 consumes it. curve: the distances at
    earlier steps, by step, measured in the same way.
    """

    run: Path
    config: RunConfig
    step: int
    scores: dict[str, dict[str, float | None]]
    protocol: dict[str, str]
    levels: list[dict[str, Any]]
    curve: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)

    @property
    def by_step(self) -> dict[int, dict[str, dict[str, float | None]]]:
        """The scores at every step that was measured, rising."""
        every = {int(step): scores for step, scores in self.curve.items()} | {self.step: self.scores}
        return dict(sorted(every.items()))

    @property
    def method(self) -> str:
        """The regularizer's name, or "vanilla"."""
        sparse = self.config.sparse
        return "vanilla" if sparse is None else SparsityConfig.from_mapping(sparse).title

    @property
    def label(self) -> str:
        """The method with its settings, as its directory is called."""
        return label_of(self.config.sparse)

    @property
    def sparsity(self) -> float:
        """The percentage of non-zeros of Γ_1 as D1 consumes it, 0 to 100."""
        return float(self.levels[0]["sparsity"])

    def value(self, metric: str) -> float | None:
        """A score, None where it was not measured."""
        score = self.scores.get(metric)
        return None if score is None else score["value"]


def measure(
    run: Path,
    samples: int,
    evaluator: Evaluator,
    reals: Mapping[str, Images],
    seed: int = 0,
    device: str | None = None,
    steps: Sequence[int] = (),
) -> Outcome:
    """Sample a run's latest checkpoint, score the samples against real images, look at Γ, and keep it all in the run.

    reals: as for `Evaluator.score_against`; an autoencoder gives the last of them back. steps: of further checkpoints, whose
    distances are measured; what was measured in the same way before is kept, see `keep`. Raises what `load_trained` and
    `Evaluator.score_against` do.
    """
    from sparse_plugin.gans.trained import load_trained

    for real in reals.values():
        evaluator.check(samples, len(real))
    how = protocol(evaluator, samples, reals, seed)
    there = measured(run, how, evaluator)
    if there is None:
        trained = load_trained(run, device=device)
        scores = evaluator.score_against(trained.sampled(samples, seed), reals)
        scores |= scores_of_reconstructions(trained, evaluator, [*reals.values()][-1])
        there = look(run, trained, seed, scores, how)
    curve = dict(there.curve)
    for step in steps:
        if step != there.step and not evaluator.all_in(curve.get(str(step), {}), over_steps=True):
            trained = load_trained(run, step, device)
            scores = evaluator.score_against(trained.sampled(samples, seed), reals, evaluator.over_steps)
            curve[str(step)] = {**curve.get(str(step), {}), **{name: asdict(score) for name, score in scores.items()}}
            there = keep(replace(there, curve=curve))
    return there


def measured(run: Path, how: dict[str, str], evaluator: Evaluator) -> Outcome | None:
    """What a run's latest checkpoint was measured to be in a way, also before others; None where it was not, or by fewer metrics."""
    there, step = read(run), RunDirectory(run).step
    if there is not None and (there.step, there.protocol) != (step, how):
        there = _of(run, run / _aside(step, how))
        if there is not None:
            there = keep(there)
    return there if there is not None and evaluator.all_in(there.scores) else None


def look(run: Path, trained: TrainedGenerator, seed: int, scores: dict[str, Score], protocol: dict[str, str]) -> Outcome:
    """Look at Γ of a run's generator, and keep it and the scores in the run."""
    # Of several regularizers at one site the last one's: what D1 consumes.
    records = {(m.site, m.level): m.record() for m in trained.measure(MEASURED, seed)}
    levels = sorted(records.values(), key=lambda record: record["level"])
    plain = {name: asdict(score) for name, score in scores.items()}
    return keep(Outcome(run, trained.config, trained.step, plain, protocol, levels))


def keep(made: Outcome) -> Outcome:
    """Keep what a run came to in its directory. Returns it with all that was measured in the same way.

    That is added to; what was measured in another way, or at another step, stays beside it, see `_aside`.
    """
    there = None
    with suppress(CheckpointError):  # of a damaged file nothing is to be kept
        there = read(made.run)
    if there is not None and (there.step, there.protocol) == (made.step, made.protocol):
        curve = {step: {**there.curve.get(step, {}), **made.curve.get(step, {})} for step in {*there.curve, *made.curve}}
        made = replace(made, scores={**there.scores, **made.scores}, curve=dict(sorted(curve.items(), key=lambda item: int(item[0]))))
    elif there is not None:
        os.replace(made.run / FILE, made.run / _aside(there.step, there.protocol))
    names = ("step", "scores", "protocol", "levels", "curve")
    write(made.run / FILE, json.dumps({name: getattr(made, name) for name in names}, ensure_ascii=False))
    return made


def _aside(step: int, protocol: Mapping[str, str]) -> str:
    """The name of the file of what was measured in another way than the latest, or at another step: "result-1a2b3c4d.json"."""
    return f"result-{hashlib.sha256(json.dumps([step, protocol], sort_keys=True).encode()).hexdigest()[:8]}.json"


def protocol(evaluator: Evaluator, samples: int, reals: Mapping[str, Images], seed: int = 0) -> dict[str, str]:
    """What the scores of an outcome depend on. reals: the first has the name "", the others are said by theirs."""
    (_, first), *others = reals.items()
    lines = evaluator.protocol(samples, first)
    lines["generated"] += f": sampled with seed {seed}"
    for name, real in others:
        lines[f"real, {name}"] = evaluator.protocol(samples, real)["real"]
    return lines


def read(run: str | Path) -> Outcome | None:
    """The outcome of a run, None where it was not measured yet.

    Raises ConfigError where there is no run, CheckpointError where a file is damaged.
    """
    return _of(Path(run), Path(run) / FILE)


def _of(run: Path, path: Path) -> Outcome | None:
    """The outcome of a run in a file, as of `read`."""
    config = RunDirectory(run).config()
    try:
        with understood(path, "delete it, and the run is measured again"):
            made = Outcome(run, config, **json.loads(content(path)))
            _check(made)
            return made
    except FileNotFoundError:
        return None


def _check(made: Outcome) -> None:
    """Raise whatever comes of an outcome in which tables and figures would not find what they look for."""
    for score in (score for scores in made.by_step.values() for score in scores.values()):
        float(score["value"] or 0), float(score["deviation"] or 0)
    for record in made.levels:
        float(record["sparsity"]), len(record["needle_density"]), len(record["atom_usage"])
    if not isinstance(made.step, int) or not all(isinstance(line, str) for line in made.protocol.values()):
        raise ValueError("step is a number, and protocol are lines of text")
    if not made.levels:
        raise ValueError("it has no levels of Γ")


def find(folders: list[str]) -> list[Path]:
    """The runs that folders are or hold. Raises ConfigError for a folder without any."""
    found: list[Path] = []
    for folder in folders:
        there = sorted(path.parent for path in Path(folder).rglob(CONFIG) if (path.parent / "checkpoints").is_dir())
        runs = [path for path in there if RunDirectory(path).of_gan]  # the others restored images
        if not runs:
            raise ConfigError(
                f"{folder} is not the directory of a run, and holds none; name what `train` or `experiment` wrote"
            )
        found += runs
    return list(dict.fromkeys(found))

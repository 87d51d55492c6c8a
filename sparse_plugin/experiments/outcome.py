"""What a finished run came to: its scores and its Γ, kept in RUN/result.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments.methods import label_of
from sparse_plugin.files import understood, write
from sparse_plugin.reference.rundir import CONFIG, RunDirectory

if TYPE_CHECKING:
    from sparse_plugin.data import Images
    from sparse_plugin.metrics import Evaluator, Score
    from sparse_plugin.reference.trained import Trained

FILE = "result.json"
# Samples whose Γ is looked at.
MEASURED = 512


@dataclass(frozen=True)
class Outcome:
    """run: its directory. config: see `reference.train.run`. step: after which it was measured. scores: value and, where
    it is a mean over subsets, deviation, by metric. protocol: what they depend on. levels: a record a level of Γ (see
    `Measurement.record`) over 512 samples, Γ_1 first; of a vanilla run, Γ_1 as D1 consumes it.
    """

    run: Path
    config: dict[str, Any]
    step: int
    scores: dict[str, dict[str, float | None]]
    protocol: dict[str, str]
    levels: list[dict[str, Any]]

    @property
    def method(self) -> str:
        """The regularizer's name, or "vanilla"."""
        sparse = self.config["sparse"]
        return "vanilla" if sparse is None else str(sparse["regularizer"])

    @property
    def label(self) -> str:
        """The method with its settings, as its directory is called."""
        return label_of(self.config["sparse"])

    @property
    def sparsity(self) -> float:
        """The percentage of non-zeros of Γ_1 as D1 consumes it, 0 to 100."""
        return float(self.levels[0]["sparsity"])

    def value(self, metric: str) -> float | None:
        """A score, None where it was not measured."""
        score = self.scores.get(metric)
        return None if score is None else score["value"]


def measure(
    run: Path, samples: int, evaluator: Evaluator, real: Images, seed: int = 0, device: str | None = None
) -> Outcome:
    """Sample a run's latest checkpoint, score the samples against real images, look at Γ, and keep it all in the run.

    Raises what `trained.load` and `Evaluator.score` do.
    """
    from sparse_plugin.reference.trained import load

    evaluator.check(samples, len(real))
    trained = load(run, device=device)
    generated = trained.sampled(samples, seed)
    return look(run, trained, seed, evaluator.score(generated, real), protocol(evaluator, samples, real, seed))


def look(run: Path, trained: Trained, seed: int, scores: dict[str, Score], protocol: dict[str, str]) -> Outcome:
    """Look at Γ of a run's generator, and keep it and the scores in the run."""
    levels = sorted((m.record() for m in trained.measure(MEASURED, seed)), key=lambda record: record["level"])
    found: dict[str, Any] = {
        "step": trained.step,
        "scores": {name: asdict(score) for name, score in scores.items()},
        "protocol": protocol,
        "levels": levels,
    }
    write(run / FILE, json.dumps(found, ensure_ascii=False))
    return Outcome(run, trained.config, **found)


def protocol(evaluator: Evaluator, samples: int, real: Images, seed: int = 0) -> dict[str, str]:
    """What the scores of an outcome depend on."""
    lines = evaluator.protocol(samples, real)
    lines["generated"] += f": sampled with seed {seed}"
    return lines


def read(run: str | Path) -> Outcome | None:
    """The outcome of a run, None where it was not measured yet.

    Raises ConfigError where there is no run, CheckpointError where a file is damaged.
    """
    path = Path(run) / FILE
    config = RunDirectory(Path(run)).trained()
    try:
        with understood(path, "delete it, and the run is measured again"):
            made = Outcome(Path(run), config, **json.loads(path.read_bytes()))
            _check(made)
            return made
    except FileNotFoundError:
        return None


def _check(made: Outcome) -> None:
    """Raise whatever comes of an outcome in which tables and figures would not find what they look for."""
    for score in made.scores.values():
        float(score["value"] or 0), float(score["deviation"] or 0)
    for record in made.levels:
        float(record["sparsity"]), len(record["needle_density"]), len(record["atom_usage"])
    if not isinstance(made.step, int) or not all(isinstance(line, str) for line in made.protocol.values()):
        raise ValueError("step is a number, and protocol are lines of text")
    assert made.levels, "it has no levels of Γ"


def find(folders: list[str]) -> list[Path]:
    """The runs that folders are or hold. Raises ConfigError for a folder without any."""
    found: list[Path] = []
    for folder in folders:
        there = sorted(path.parent for path in Path(folder).rglob(CONFIG) if (path.parent / "checkpoints").is_dir())
        runs = [path for path in there if "arch" in RunDirectory(path).config()]  # the others restored images
        if not runs:
            raise ConfigError(
                f"{folder} is not the directory of a run, and holds none; name what `train` or `experiment` wrote"
            )
        found += runs
    return list(dict.fromkeys(found))

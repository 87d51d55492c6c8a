"""Tuning Deep Image Prior: `sparse-plugin tune restore denoise ...`, whole restorations raced over seeds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from sparse_plugin.errors import ConfigError, DivergedError, OutputError, SparsePluginError
from sparse_plugin.experiments.engine import FailedRun, Say
from sparse_plugin.runs.rundir import LOG, BusyError
from sparse_plugin.runs.sparsity import RESTORING
from sparse_plugin.support.files import content, lines, understood
from sparse_plugin.tune.candidates import VANILLA_CANDIDATE, Candidate
from sparse_plugin.tune.pictures import newest
from sparse_plugin.tune.target import Goal, Target
from sparse_plugin.tune.trial import RUN, SAMPLES, Score, Trial

# The regularizers that have a place, and defaults, at encoder scales.
METHODS = ("l0_inf", "l0")


@dataclass(frozen=True)
class RestorationTrial(Trial):
    """Images restored with one seed. kind, images, options: as of `restore_files`."""

    kind: str
    images: tuple[str, ...]
    options: Mapping[str, Any] = field(hash=False)

    @property
    def protocol(self) -> str:
        """The mean over images; what else decides it stands in the directories of the restorations."""
        return f"mean PSNR of the {'single output' if self.options.get('single') else 'averaged output'}"

    def scored(self, title: str, say: Say) -> Score:
        """Restore all images, or go on with them, and read their PSNR."""
        from sparse_plugin.restore.command import RESULT, StoppedError, restore_files

        run = self.directory / RUN
        say("restoring")
        try:
            restore_files(self.kind, self.images, f"{run}/", sparse=self.candidate.sparse, seed=self.seed, **self.options)
        except (BusyError, OutputError, DivergedError, StoppedError):
            raise
        except SparsePluginError as error:
            if self.candidate == VANILLA_CANDIDATE:
                raise
            raise FailedRun(f"{self}: {error}") from None
        which = "psnr_single" if self.options.get("single") else "psnr_average"
        found, iterations = [], []
        for path in sorted(run.glob(f"*.run/{RESULT}")):
            with understood(path, "delete its folder, and the image is restored again"):
                result = json.loads(content(path))
                found.append(float(result["scores"][which]))
                iterations.append(int(result["iteration"]))
        newest(run, self.directory / SAMPLES)
        return Score(self.share, mean(found), self.protocol, round(mean(iterations)), _levels(run), more={"psnr": found})


def _levels(run: Path) -> list[dict[str, Any]]:
    """The density of each encoder scale: means over images and the later half of what was logged."""
    logged: list[list[float]] = []
    for path in sorted(run.glob(f"*.run/{LOG}")):
        of = [record["sparsity"] for record in lines(path) if isinstance(record.get("sparsity"), list)]
        logged += of[len(of) // 2 :]
    return [
        {"site": f"encoders.{scale}:output", "level": scale + 1, "sparsity": mean(map(float, values))}
        for scale, values in enumerate(zip(*logged, strict=False))
    ]


class RestorationTarget(Target):
    """Restorations of some images. words: those behind `restore`, as they were typed, without the images' output."""

    def __init__(
        self, kind: str, words: Sequence[str], images: Sequence[str], options: Mapping[str, Any], seed: int
    ) -> None:
        if not options.get("clean") and not options.get("noisy"):
            raise ConfigError(
                "restorations are raced by their PSNR, which takes clean images; give --clean FILE for each image, or --add-noise"
            )
        self.kind, self.words, self.images, self.options = kind, tuple(words), tuple(images), dict(options)
        many = "one image" if len(images) == 1 else f"{len(images)} images"
        super().__init__(f"`restore {kind}` of {many}", Goal("PSNR", False, unit="dB"), first_seed=seed, arch=RESTORING, methods=METHODS)

    def identity(self) -> Mapping[str, Any]:
        """The task, its images, and what decides the results."""
        free = ("device", "compiled", "log_every", "checkpoint_every")
        decide = {name: value for name, value in self.options.items() if name not in free}
        return {"target": "restoration", "kind": self.kind, "images": list(self.images), **decide}

    def trial(self, candidate: Candidate, seed: int, share: float, out: Path) -> RestorationTrial:
        """All images with one seed."""
        return RestorationTrial(candidate, seed, share, out, self.kind, self.images, self.options)

    def command(self, out: Path, config: Path | None) -> str:
        """The same `restore`, with the settings."""
        attached = [] if config is None else ["--config", str(config)]
        return shlex.join(["sparse-plugin", "restore", self.kind, *self.words, *attached, "-o", f"{out / 'best'}/"])

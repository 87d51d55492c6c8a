"""Finished restorations as lines of a file of `records`: one line an image, method and noise."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparse_plugin.experiments.table4_report import OUTPUTS, DenoisingOutcome
from sparse_plugin.runs import environment
from sparse_plugin.runs.config import RestorationSettings
from sparse_plugin.runs.methods import label_of
from sparse_plugin.runs.rundir import RunDirectory


@dataclass(frozen=True)
class Restored:
    """One line. method: its label. image: name, size (width, height) and sha256 of the clean one. task: its name and sigma.

    noise: its seed, and sha256 of the noisy image. crop: the side of the square that was cut, None for a whole image. noisy:
    PSNR of the noisy image, dB. psnr, final: by output, "single" and "average", the highest PSNR with its iteration, and
    that of the last iteration (empty where it was not kept). density: of Γ_1..Γ_K at the end, 0 to 1. made_with: as of
    `Record`. chosen: as of `DenoisingOutcome`.
    """

    id: str
    method: str
    image: dict[str, Any]
    task: dict[str, Any]
    noise: dict[str, Any]
    crop: int | None
    config: RestorationSettings
    noisy: float
    psnr: dict[str, tuple[float, int]]
    final: dict[str, float]
    density: list[float]
    made_with: list[dict[str, Any]]
    chosen: dict[str, Any] = field(default_factory=dict)


def of(made: DenoisingOutcome, run: Path, crop: int | None) -> Restored:
    """The record of a finished restoration. run: its directory. Raises what `RunDirectory.restoration` does."""
    whole = RunDirectory(run).restoration()
    image = {"name": made.image, "size": made.protocol["size"], "sha256": made.protocol["pixels"]}
    noise = {"seed": made.seed, "sha256": whole.image["sha256"]}
    told = json.dumps([image["sha256"], whole.task, noise, crop, whole.settings.to_json()], sort_keys=True)
    return Restored(
        hashlib.sha256(told.encode()).hexdigest()[:16],
        made.method,
        image,
        whole.task,
        noise,
        crop,
        whole.settings,
        made.noisy,
        made.psnr,
        made.final,
        made.density,
        environment.read(run)[::-1],
        made.chosen,
    )


def parsed(found: dict[str, Any]) -> Restored:
    """The restoration of a line's values. Raises whatever comes of one in which tables would not find what they look for."""
    found["psnr"] = {output: (float(value), int(iteration)) for output, (value, iteration) in found["psnr"].items()}
    record = Restored(**{**found, "config": RestorationSettings.from_json(found["config"])})
    if label_of(record.config.sparse) != record.method:
        raise ValueError(f"its method is {record.method!r}, and its configuration another")
    numbers = [record.psnr[output][0] for output in OUTPUTS]
    numbers += [*(record.final[output] for output in OUTPUTS if record.final), record.noisy, *record.density]
    numbers += [record.task["sigma"], record.config.width, record.config.iterations, record.config.seed]
    numbers += [*record.image["size"], record.noise["seed"], 0 if record.crop is None else record.crop]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("one of its numbers is not finite")
    _ = [str(made.get("torch")) for made in record.made_with[:1]]
    if not all(
        isinstance(text, str)
        for text in (record.id, record.image["name"], record.image["sha256"], record.noise["sha256"])
    ):
        raise ValueError("its id, its image's name and the hashes are text")
    return record

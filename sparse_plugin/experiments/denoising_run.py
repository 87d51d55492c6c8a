"""One restoration of table 4: an image with noise, a method, and the number of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError
from sparse_plugin.experiments import engine, restored, table4_report
from sparse_plugin.experiments.restored import Restored
from sparse_plugin.experiments.table4_report import DenoisingOutcome
from sparse_plugin.runs.methods import Method
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.support.files import content, understood, write

if TYPE_CHECKING:
    from sparse_plugin.restore import RestorationResult

SIGMA = 25.0
FILE, RUN = "result.json", "restoration"


@dataclass(frozen=True)
class Photograph:
    """path: of its file; None for one that is built in."""

    name: str
    path: Path | None = None


@dataclass(frozen=True)
class DenoisingRun(engine.GridRun):
    """One image, method and number of a run, of which noise, network and input are drawn. crop: the side of the square."""

    photograph: Photograph
    crop: int | None
    method: Method
    seed: int
    iterations: int
    width: float
    out: Path
    device: str | None = None

    @property
    def directory(self) -> Path:
        """Where the run is: out/baboon/l0_inf-k=0.25/run0."""
        return Path(self.out, self.photograph.name, self.method.label, f"run{self.seed}")

    @property
    def places(self) -> tuple[Path, ...]:
        """The restoration's directory."""
        return (self.directory / RUN,)

    def __str__(self) -> str:
        return f"{self.photograph.name}, {self.method.label}, run {self.seed}"

    def state(self) -> str:
        """How far it is, for people."""
        if (self.directory / FILE).is_file():
            return "finished"
        step = RunDirectory(self.directory / RUN).step
        return f"at iteration {step}" if step else "not begun"

    def check(self) -> None:
        """Raise ConfigError for what `restore` would refuse."""
        from sparse_plugin.restore import Denoise
        from sparse_plugin.restore.run import check

        check(
            pixels_of(self.photograph, self.crop),
            Denoise(SIGMA),
            sparse=self.method.sparse,
            iterations=self.iterations,
            stop=self._stop,
            width=self.width,
        )

    def collect(self) -> DenoisingOutcome | None:
        """What a run that is finished came to. Raises ConfigError for one of another configuration."""
        found = _read(self.directory)
        if found is None:
            return None
        protocol = self._protocol(pixels_of(self.photograph, self.crop))
        if found.protocol != protocol:
            differ = ", ".join(key for key in protocol if found.protocol.get(key) != protocol[key])
            raise ConfigError(
                f"{self.directory} holds a run of another configuration ({differ}); name another directory with --out"
            )
        return found

    def perform(self, title: str, say: engine.Say) -> DenoisingOutcome:
        """Denoise it, or go on with it."""
        from sparse_plugin.restore import Denoise, add_noise, restore

        found = self.collect()
        if found is not None:
            return found
        clean = pixels_of(self.photograph, self.crop)
        result = restore(
            add_noise(clean, SIGMA, self.seed),
            Denoise(SIGMA),
            clean=clean,
            sparse=self.method.sparse,
            iterations=self.iterations,
            stop=self._stop,
            seed=self.seed,
            width=self.width,
            run_dir=self.directory / RUN,
            device=self.device,
            title=title,
        )
        curves = result.curves
        made = DenoisingOutcome(
            self.photograph.name,
            self.method.label,
            self.seed,
            result.scores["psnr_given"],
            {"single": curves.best("psnr_single"), "average": curves.best("psnr_average")},
            curves.density[max(curves.density)],
            {"single": _tenths(curves.psnr_single), "average": _tenths(curves.psnr_average)},
            self._protocol(clean),
            {"single": curves.psnr_single[-1], "average": curves.psnr_average[-1]},
            {} if result.chosen is None else result.chosen.to_json() | {"psnr": _there(result)},
        )
        write(self.directory / FILE, json.dumps(asdict(made)))
        return made

    @property
    def _stop(self) -> str | None:
        """The rule: none, as in the paper's protocol, but where k is chosen."""
        from sparse_plugin.restore.race import asked

        return "auto" if asked(self.method.sparse) else None

    def record(self, outcome: Any) -> Restored:
        """The line of what it came to."""
        return restored.of(outcome, self.directory / RUN, self.crop)

    def _protocol(self, pixels: Any) -> dict[str, Any]:
        from sparse_plugin.restore.tasks import digest

        height, across = pixels.shape[:2]
        return {
            "sigma": SIGMA,
            "iterations": self.iterations,
            "width": self.width,
            "size": [across, height],
            "pixels": digest(pixels),
        }


@lru_cache(maxsize=4)
def pixels_of(photograph: Photograph, side: int | None) -> Any:
    """The central square of a photograph, side None for all of it: (H, W, 3) or (H, W), float32 in [0, 1].

    Raises ConfigError for an image that is smaller.
    """
    import numpy as np

    from sparse_plugin.data.photographs import original
    from sparse_plugin.restore.pictures import read

    if photograph.path is None:
        pixels: Any = np.asarray(original(photograph.name), np.float32) / 255
    else:
        pixels = read(photograph.path).pixels
    if side is None:
        return pixels
    height, width = pixels.shape[:2]
    if side < 1 or min(height, width) < side:
        raise ConfigError(
            f"a square of {side} pixels was to be cut from {photograph.name}, which is {width}x{height}; give a crop from 1 "
            f"to {min(height, width)}"
        )
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _there(result: RestorationResult) -> dict[str, float]:
    return {output: result.scores[f"psnr_{output}"] for output in table4_report.OUTPUTS}


def _tenths(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values[9::10]]


def _read(folder: Path) -> DenoisingOutcome | None:
    path = folder / FILE
    try:
        with understood(path, "delete it, and the image is denoised again"):
            return DenoisingOutcome.from_json(json.loads(content(path)))
    except FileNotFoundError:
        return None


def find(folders: Iterable[str | Path]) -> list[DenoisingOutcome]:
    """The finished runs below folders. Raises ConfigError for a folder without any."""
    found: list[DenoisingOutcome] = []
    for folder in folders:
        there = [path.parent for path in sorted(Path(folder).rglob(FILE)) if (path.parent / RUN).is_dir()]
        if not there:
            raise ConfigError(f"{folder} holds no finished runs of table 4; name what `experiment table4` wrote")
        found += [made for path in there if (made := _read(path)) is not None]
    return found

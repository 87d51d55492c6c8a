"""Table 4 of the paper: denoising by Deep Image Prior, σ = 25, PSNR of the best single and the best averaged output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.experiments import engine, restored, table4_report
from sparse_plugin.experiments.restored import Restored
from sparse_plugin.experiments.table4_report import DenoisingOutcome
from sparse_plugin.runs import sparsity
from sparse_plugin.runs.methods import Method, methods
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.support.files import content, understood, write
from sparse_plugin.support.optional import need

if TYPE_CHECKING:
    from sparse_plugin.restore import RestorationResult

SIGMA = 25.0
METHODS = ("vanilla", "l0_inf", "l0")
FILE, RUN = "result.json", "restoration"
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class DenoisingScale:
    """crop: the side of the central square that is denoised, None for whole images. iterations, runs: of each image."""

    crop: int | None
    iterations: int
    runs: int


SCALES = {"paper": DenoisingScale(None, 3000, 3), "small": DenoisingScale(128, 1000, 1)}


@dataclass(frozen=True)
class Photograph:
    """path: of its file; None for one that is built in."""

    name: str
    path: Path | None = None


def run_table4(
    out: str | Path,
    images: Sequence[str] = (),
    *,
    scale: str = "small",
    crop: int | None = None,
    runs: int | None = None,
    iterations: int | None = None,
    methods: Sequence[str] = (),
    width: float = 1.0,
    imports: Iterable[str] = (),
    device: str | None = None,
    record: str | Path | None = None,
    dry_run: bool = False,
    collect: bool = False,
    command: str = "",
) -> tuple[str, int]:
    """Make Table 4: every image, method and run that is not finished is denoised, or gone on with.

    out: where the runs and the table are. images: files and folders; by default photographs that are built in. scale: "paper"
    or "small". crop, runs, iterations: instead of the scale's. methods: columns, as in "vanilla" or "l0:k=0.5". width:
    multiplies the network's channels. record: a file of finished runs, see `records`. dry_run: say what would be done.
    collect: make the table of what is finished, also while runs are at work, and denoise nothing. Noise, network and input
    are drawn from the run's number, the same for all methods.

    Returns what to say and an exit code: 0, or 1 where a run diverged. Raises ConfigError for what is not valid before
    anything is denoised.
    """
    need("an experiment", "experiments", "safetensors", "skimage")
    if scale not in SCALES:
        raise ConfigError(one_of("scale", scale, SCALES))
    pixels_of.cache_clear()  # files may have changed since
    of = SCALES[scale]
    of = DenoisingScale(
        of.crop if crop is None else crop,
        of.iterations if iterations is None else iterations,
        of.runs if runs is None else runs,
    )
    if of.runs < 1:
        raise ConfigError(f"{of.runs} runs were asked for; give 1 or more")
    chosen = methods_of(methods, imports)
    photographs = _files(images) if images else [Photograph(name) for name in _built_in()]
    wanted = [
        DenoisingRun(photograph, of.crop, method, seed, of.iterations, width, Path(out), device)
        for seed in range(of.runs)
        for photograph in photographs
        for method in chosen
    ]
    grid = DenoisingGrid(Path(out), tuple(wanted), command, None if record is None else Path(record))
    if dry_run:
        return engine.plan(grid), 0
    return engine.collect(grid) if collect else engine.perform(grid)


@dataclass
class DenoisingGrid(engine.Grid):
    """The runs of Table 4. command: what was asked for, to stand under the table."""

    out: Path
    runs: tuple[DenoisingRun, ...]
    command: str = ""
    recorded: Path | None = None

    def prepare(self) -> Sequence[DenoisingRun]:
        """Check images and network; all runs are to be performed."""
        for run in {(run.photograph.name, run.method.label): run for run in self.runs}.values():
            run.check()
        return self.runs

    def render(self, outcomes: Sequence[Any], failed: Iterable[str]) -> tuple[str, list[Path]]:
        """The table, beside the paper's numbers."""
        text = table4_report.markdown(outcomes, self.command, failed)
        return text, table4_report.write(self.out / "table4", outcomes, text)


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


def methods_of(asked: Sequence[str], imports: Iterable[str]) -> list[Method]:
    """The table's methods, with the settings of the network's encoder scales."""
    return methods(asked or METHODS, sparsity.RESTORING, imports)


def _files(names: Sequence[str]) -> list[Photograph]:
    paths: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS) if path.is_dir() else [path]
        if not found:
            raise ConfigError(f"{name} holds no images; give a folder with {', '.join(ENDINGS)} files")
        paths += found
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise ConfigError(f"two images are called {twice}; runs are kept by name, so rename one")
    return [Photograph(path.stem, path) for path in paths]


def _built_in() -> Sequence[str]:
    from sparse_plugin.data.photographs import PHOTOGRAPHS

    return tuple(PHOTOGRAPHS)


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

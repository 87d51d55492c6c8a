"""Table 4 of the paper: denoising by Deep Image Prior, σ = 25, PSNR of the best single and the best averaged output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.experiments import engine, table4_report
from sparse_plugin.experiments.denoising_run import DenoisingRun, Photograph, pixels_of
from sparse_plugin.runs import sparsity
from sparse_plugin.runs.methods import Method, methods
from sparse_plugin.support.optional import need

METHODS = ("vanilla", "l0_inf", "l0")
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class DenoisingScale:
    """crop: the side of the central square that is denoised, None for whole images. iterations, runs: of each image."""

    crop: int | None
    iterations: int
    runs: int


SCALES = {"paper": DenoisingScale(None, 3000, 3), "small": DenoisingScale(128, 1000, 1)}


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

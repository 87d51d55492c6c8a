"""Table 4 of the paper: denoising by Deep Image Prior, σ = 25, PSNR of the best single and the best averaged output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparse_plugin.errors import ConfigError, DivergedError, one_of
from sparse_plugin.experiments import records, restored, table4_report
from sparse_plugin.experiments.table4_report import Outcome
from sparse_plugin.runs import sparsity
from sparse_plugin.runs.methods import Method, methods
from sparse_plugin.runs.rundir import BusyError
from sparse_plugin.support.files import content, understood, write
from sparse_plugin.support.optional import need

SIGMA = 25.0
METHODS = ("vanilla", "l0_inf", "l0")
FILE, RUN = "result.json", "restoration"
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Scale:
    """crop: the side of the central square that is denoised, None for whole images. iterations, runs: of each image."""

    crop: int | None
    iterations: int
    runs: int


SCALES = {"paper": Scale(None, 3000, 3), "small": Scale(128, 1000, 1)}


@dataclass(frozen=True, eq=False)
class Photograph:
    """pixels: (H, W, 3) or (H, W), float32 in [0, 1]."""

    name: str
    pixels: Any


def run(
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
    command: str = "",
) -> tuple[str, int]:
    """Make Table 4: every image, method and run that is not finished is denoised, or gone on with.

    out: where the runs and the table are. images: files and folders; by default photographs that are built in. scale: "paper"
    or "small". crop, runs, iterations: instead of the scale's. methods: columns, as in "vanilla" or "l0:k=0.5". width:
    multiplies the network's channels. record: a file of finished runs, see `records`. Noise, network and input are drawn
    from the run's number, the same for all methods.

    Returns what to say and an exit code: 0, or 1 where a run diverged. Raises ConfigError for what is not valid before
    anything is denoised.
    """
    need("an experiment", "experiments", "safetensors", "skimage")
    from sparse_plugin.restore import Denoise
    from sparse_plugin.restore.run import check

    if scale not in SCALES:
        raise ConfigError(one_of("scale", scale, SCALES))
    of = SCALES[scale]
    of = Scale(
        of.crop if crop is None else crop,
        of.iterations if iterations is None else iterations,
        of.runs if runs is None else runs,
    )
    if of.runs < 1:
        raise ConfigError(f"{of.runs} runs were asked for; give 1 or more")
    chosen = methods_of(methods, imports)
    photographs = [_cropped(photograph, of.crop) for photograph in (_files(images) if images else _built_in())]
    if record is not None:
        records.read(Path(record))  # a file that is none is to be refused before anything is denoised
    for photograph in photographs:
        check(photograph.pixels, Denoise(SIGMA), iterations=of.iterations, width=width)
    done: list[Outcome] = []
    failed: list[str] = []
    busy: list[str] = []
    count = of.runs * len(photographs) * len(chosen)
    for seed in range(of.runs):
        for photograph in photographs:
            for method in chosen:
                what = f"{photograph.name}, {method.label}, run {seed}"
                title = f"{len(done) + len(failed) + len(busy) + 1} of {count}: {what}"
                folder = Path(out, photograph.name, method.label, f"run{seed}")
                try:
                    done.append(_denoise(photograph, method, seed, folder, of.iterations, width, device, title))
                    if record is not None:
                        records.add(Path(record), [restored.of(done[-1], folder / RUN, of.crop)])
                except DivergedError as error:
                    failed.append(f"{what}: {error}")
                except BusyError:
                    busy.append(f"another process is at work on {what}; repeat the command when it is done")
    if not done:
        return "\n".join(["no run is finished", *failed, *busy]), 1 if failed else 0
    text = table4_report.markdown(done, command, failed)
    paths = table4_report.write(Path(out, "table4"), done, text)
    return "\n".join([text, f"written: {', '.join(map(str, paths))}", *busy]), 1 if failed else 0


def methods_of(asked: Sequence[str], imports: Iterable[str]) -> list[Method]:
    """The table's methods, with the settings of the network's encoder scales."""
    return methods(asked or METHODS, sparsity.RESTORING, imports)


def _files(names: Sequence[str]) -> list[Photograph]:
    from sparse_plugin.restore.pictures import read

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
    return [Photograph(path.stem, read(path).pixels) for path in paths]


def _built_in() -> list[Photograph]:
    import numpy as np

    from sparse_plugin.data.photographs import PHOTOGRAPHS, original

    return [Photograph(name, np.asarray(original(name), np.float32) / 255) for name in PHOTOGRAPHS]


def _cropped(photograph: Photograph, side: int | None) -> Photograph:
    """The central square. Raises ConfigError for an image that is smaller."""
    if side is None:
        return photograph
    height, width = photograph.pixels.shape[:2]
    if side < 1 or min(height, width) < side:
        raise ConfigError(
            f"a square of {side} pixels was to be cut from {photograph.name}, which is {width}x{height}; give a crop from 1 "
            f"to {min(height, width)}"
        )
    top, left = (height - side) // 2, (width - side) // 2
    return Photograph(photograph.name, photograph.pixels[top : top + side, left : left + side])


def _denoise(
    photograph: Photograph,
    method: Method,
    seed: int,
    folder: Path,
    iterations: int,
    width: float,
    device: str | None,
    title: str,
) -> Outcome:
    """One image, one method, one run; from its file, where it is finished."""
    from sparse_plugin.restore import Denoise, add_noise, restore
    from sparse_plugin.restore.tasks import digest

    height, across = photograph.pixels.shape[:2]
    protocol = {
        "sigma": SIGMA,
        "iterations": iterations,
        "width": width,
        "size": [across, height],
        "pixels": digest(photograph.pixels),
    }
    found = _read(folder)
    if found is not None:
        if found.protocol != protocol:
            differ = ", ".join(key for key in protocol if found.protocol.get(key) != protocol[key])
            raise ConfigError(
                f"{folder} holds a run of another configuration ({differ}); name another directory with --out"
            )
        return found
    noisy = add_noise(photograph.pixels, SIGMA, seed)
    result = restore(
        noisy,
        Denoise(SIGMA),
        clean=photograph.pixels,
        sparse=method.sparse,
        iterations=iterations,
        stop=None,
        seed=seed,
        width=width,
        run_dir=folder / RUN,
        device=device,
        title=title,
    )
    curves = result.curves
    made = Outcome(
        photograph.name,
        method.label,
        seed,
        result.scores["psnr_given"],
        {"single": curves.best("psnr_single"), "average": curves.best("psnr_average")},
        curves.density[max(curves.density)],
        {"single": _tenths(curves.psnr_single), "average": _tenths(curves.psnr_average)},
        protocol,
        {"single": curves.psnr_single[-1], "average": curves.psnr_average[-1]},
    )
    write(folder / FILE, json.dumps(asdict(made)))
    return made


def _tenths(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values[9::10]]


def _read(folder: Path) -> Outcome | None:
    path = folder / FILE
    try:
        with understood(path, "delete it, and the image is denoised again"):
            found = json.loads(content(path))
            found["psnr"] = {name: (value, iteration) for name, (value, iteration) in found["psnr"].items()}
            return Outcome(**found)
    except FileNotFoundError:
        return None


def find(folders: Iterable[str | Path]) -> list[Outcome]:
    """The finished runs below folders. Raises ConfigError for a folder without any."""
    found: list[Outcome] = []
    for folder in folders:
        there = [path.parent for path in sorted(Path(folder).rglob(FILE)) if (path.parent / RUN).is_dir()]
        if not there:
            raise ConfigError(f"{folder} holds no finished runs of table 4; name what `experiment table4` wrote")
        found += [made for path in there if (made := _read(path)) is not None]
    return found

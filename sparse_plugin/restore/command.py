"""`sparse-plugin restore`: image files in, restored image files out.

A result OUT has a folder beside it, OUT.run, with what a run's directory holds, a picture of the run, and result.json: the
figures of merit, and the hash of OUT, by which the same command knows a result of its own from somebody else's file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, OutputError, SparsePluginError
from sparse_plugin.restore import figure
from sparse_plugin.restore.iterating import Interrupted
from sparse_plugin.restore.pictures import Picture, check_writable, encode, read
from sparse_plugin.restore.result import RestorationResult
from sparse_plugin.restore.run import check, restore
from sparse_plugin.restore.tasks import Denoise, Inpaint, Task, Upscale, add_noise
from sparse_plugin.runs.rundir import CONFIG, RunDirectory, is_lock
from sparse_plugin.runs.sparsity import RESTORING, attachable
from sparse_plugin.support.files import content, make_folder, reason, write

RESULT, PICTURE = "result.json", "report.png"


class StoppedError(SparsePluginError):
    """A command that was interrupted; the best result so far is written."""

    exit_code = 130  # as a shell says of a command that SIGINT ended


@dataclass(frozen=True, eq=False)
class Job:
    """One image to restore. source, target: files; given: the picture whose pixels are restored; clean: to measure against."""

    source: Path
    target: Path
    given: Picture
    task: Task
    clean: Picture | None

    @property
    def run_dir(self) -> Path:
        return self.target.with_name(f"{self.target.name}.run")

    @property
    def ending(self) -> str:
        return self.target.suffix.lower()


def restore_files(
    kind: str,
    images: Sequence[str],
    output: str,
    *,
    masks: Sequence[str] = (),
    clean: Sequence[str] = (),
    factor: int = 4,
    sigma: float = 25.0,
    noisy: bool = False,
    single: bool = False,
    sparse: SparsityConfig | None = None,
    force: bool = False,
    seed: int = 0,
    **settings: Any,
) -> list[str]:
    """Restore image files one after the other. Returns a sentence for each.

    kind: "denoise", "inpaint" or "upscale". output: a file, or with several images, or where it is one, a folder. masks:
    one for all images or one each; clean: one each. noisy: add noise of deviation sigma to the images, which are then the
    clean ones. single: write the output of one iteration, not the average. force: write over files, and start anew.
    settings: of `restore`.

    Everything is checked for every image before the first is restored.
    Raises DataError and ConfigError for what cannot be restored or may not be written, OutputError where writing fails,
    StoppedError on an interruption, when the best result so far is written.
    """
    attachable(sparse, "restore", RESTORING)
    jobs = _jobs(kind, images, output, masks, clean, factor, sigma, noisy, seed)
    shape = {name: value for name, value in settings.items() if name not in ("device", "compiled")}
    inputs = {Path(path).resolve() for path in (*images, *masks, *clean)}
    for job in jobs:
        check(job.given.pixels, job.task, None if job.clean is None else job.clean.pixels, sparse=sparse, **shape)
        _may_write(job, force, inputs)
    said = []
    if _is_folder(images, output):  # now that nothing is refused any more
        make_folder(Path(output))
    for number, job in enumerate(jobs):
        try:
            if force:
                _forget(job.run_dir)
            said.append(_restore(job, single, sparse=sparse, seed=seed, **settings))
        except StoppedError as error:
            left = len(jobs) - number - 1
            more = f"; {left} more {'image was' if left == 1 else 'images were'} not begun" if left else ""
            raise StoppedError(f"{error}{more}") from None
        except OSError as error:
            if isinstance(error, SparsePluginError) and not isinstance(error, OutputError):
                raise
            raise OutputError(_unwritten(job, error)) from None
    return said


def _jobs(
    kind: str,
    images: Sequence[str],
    output: str,
    masks: Sequence[str],
    clean: Sequence[str],
    factor: int,
    sigma: float,
    noisy: bool,
    seed: int,
) -> list[Job]:
    if clean and (noisy or len(clean) != len(images)):
        why = "--add-noise takes the image itself as the clean one" if noisy else f"there are {len(images)} images"
        raise ConfigError(f"{len(clean)} clean images are given and {why}; give one for each image, or none")
    if kind == "inpaint" and len(masks) not in (1, len(images)):
        raise ConfigError(f"{len(masks)} masks are given for {len(images)} images; give --mask once, or once for each")
    made, several = [], _is_folder(images, output)
    for i, (source, target) in enumerate(_targets(images, output).items()):
        picture = read(source)
        true = read(Path(clean[i])) if clean else picture if noisy else None
        task: Task
        if kind == "inpaint":
            task = Inpaint(_mask(Path(masks[i if len(masks) > 1 else 0])))
        else:
            task = Upscale(factor) if kind == "upscale" else Denoise(sigma)
        given = picture.with_pixels(add_noise(picture.pixels, sigma, seed)) if noisy else picture
        check_writable(target, given, Path(output) if several else None)
        made.append(Job(source, target, given, task, true))
    return made


def _targets(images: Sequence[str], output: str) -> dict[Path, Path]:
    """Where each image's result goes."""
    sources, place = [Path(image) for image in images], Path(output)
    if not _is_folder(images, output):
        return {sources[0]: place}
    if place.exists() and not place.is_dir():
        raise ConfigError(f"{len(sources)} images are given and the output {place} is a file; name a folder")
    if not place.is_dir() and place.suffix:
        raise ConfigError(
            f"{len(sources)} images are given and the output {place} looks like a file; name a folder, as in {place.stem}/"
        )
    targets = {source: place / f"{source.stem}.png" for source in sources}
    if len(set(targets.values())) < len(sources):
        raise ConfigError("two of the images have the same name, and would have the same result; give them other names")
    return targets


def _is_folder(images: Sequence[str], output: str) -> bool:
    """Whether the output is a folder of results."""
    return len(images) > 1 or Path(output).is_dir() or output.endswith(("/", os.sep))


def _mask(path: Path) -> Any:
    """(H, W): whether a pixel is known, which is where the mask is lighter than middle grey.

    Raises ConfigError where transparency says otherwise, as of a mask that was made with an eraser.
    """
    picture = read(path)
    pixels = picture.pixels
    known = (pixels if pixels.ndim == 2 else pixels.mean(2)) > 0.5
    if picture.alpha is not None and bool(((picture.alpha > 0.5) != known).any() and (picture.alpha < 1).any()):
        raise ConfigError(
            f"the mask {path} has transparent pixels, which say something else than its colours; save it without transparency, black "
            "where pixels are missing and white where they are known"
        )
    return known


def _may_write(job: Job, force: bool, inputs: Collection[Path]) -> None:
    """Raise ConfigError where a file that is there is not this command's own, or is what is read: an image, clean or not, or a mask."""
    if job.target.resolve() in inputs:
        itself = job.target.resolve() == job.source.resolve()
        raise ConfigError(f"the output {job.target} is {'the image itself' if itself else 'given to be read'}; name another")
    if force or not job.target.exists():
        return
    if not job.target.is_file() or _recorded(job) != _hash(job.target.read_bytes()):
        raise ConfigError(f"{job.target} exists; name another output, or write over it by --force")


def _forget(folder: Path) -> None:
    """Empty the directory of a restoration. Raises ConfigError for one of something else, or where one is at work."""
    if not folder.exists():
        return
    directory = RunDirectory(folder)
    if (folder / CONFIG).exists() and not directory.of_restoration:
        raise ConfigError(f"{folder} holds a run that is no restoration; name another output")
    if not (folder / CONFIG).exists():
        return
    with directory.locked():
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not is_lock(path):
                path.unlink()


def _recorded(job: Job) -> str | None:
    """The hash of the result that was written, or was about to be."""
    try:
        written = json.loads(content(job.run_dir / RESULT))
        return str(written["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _restore(job: Job, single: bool, **settings: Any) -> str:
    """Restore one image, and write what came of it. Returns the sentence that says so."""
    clean = None if job.clean is None else job.clean.pixels
    try:
        result = restore(
            job.given.pixels, job.task, clean=clean, run_dir=job.run_dir, title=job.source.name, **settings
        )
    except Interrupted as stopped:
        if stopped.result is None:
            raise StoppedError(f"interrupted before the first iteration; {job.target} is not written") from None
        _write(job, stopped.result, single, finished=False)
        raise StoppedError(
            f"interrupted after iteration {stopped.result.iterations}; the best so far is in {job.target}, and the same "
            "command goes on"
        ) from None
    _write(job, result, single, finished=True)
    why = ", stopped early" if result.stopped else ""
    merits = f"; {_merits(result, single)}" if result.scores else ""
    chosen = f"; chosen: {result.chosen}" if result.chosen is not None and result.chosen.pixels else ""
    return (
        f"{job.target}: iteration {result.iteration} of {result.iterations}{why}{chosen}{merits}; "
        f"the report is {job.run_dir / PICTURE}"
    )


def _merits(result: RestorationResult, single: bool) -> str:
    which, scores = "single" if single else "average", result.scores
    given = f" from {scores['psnr_given']:.2f}" if "psnr_given" in scores else ""
    return f"PSNR {scores[f'psnr_{which}']:.2f} dB{given}, SSIM {scores[f'ssim_{which}']:.3f}"


def _write(job: Job, result: RestorationResult, single: bool, finished: bool) -> None:
    pixels = result.single if single else result.image
    content = encode(job.given.with_pixels(pixels), job.ending)
    said = {
        "finished": finished,
        "image": "single" if single else "average",
        "iteration": result.iteration,
        "iterations": result.iterations,
        "stopped": result.stopped,
        "scores": {name: round(value, 4) for name, value in result.scores.items()},
        **({} if result.chosen is None else {"chosen": result.chosen.to_json()}),
        "sha256": _hash(content),
    }
    # First what the result will be, so that one that is there is known for its own whenever this is cut short.
    write(job.run_dir / RESULT, json.dumps(said, indent=1))
    write(job.target, content)
    clean = None if job.clean is None else job.clean.pixels
    title = f"{job.source.name}: {job.task.name}, {result.iterations} iterations"
    write(job.run_dir / PICTURE, figure.report(title, _shown(job), result, clean, single))


def _shown(job: Job) -> Any:
    """The given image as the task sees it: black where pixels are missing."""
    pixels = job.given.pixels
    if isinstance(job.task, Inpaint):
        known = np.asarray(job.task.mask) != 0
        return pixels * (known if pixels.ndim == 2 else known[..., None])
    return pixels


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unwritten(job: Job, error: OSError) -> str:
    said = (
        str(error).partition("; ")[0]
        if isinstance(error, OutputError)
        else (f"{error.filename or job.target} could not be written: {reason(error)}")
    )
    return f"{said}; make room, and the same command goes on from the latest checkpoint in {job.run_dir}"

"""`restore`: the restoration of one image, from its array to the result."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.restore.report import RestorationReport
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import RestorationResult
from sparse_plugin.restore.stopping import Stopping
from sparse_plugin.restore.task_network import check_size
from sparse_plugin.restore.tasks import Denoise, Task, digest
from sparse_plugin.runs import checkpoints, environment
from sparse_plugin.runs.config import RestorationConfig
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.runs.sparsity import RESTORING, attachable, check_length
from sparse_plugin.support.device import device_of
from sparse_plugin.support.optional import need
from sparse_plugin.support.precision import tell


class Interrupted(KeyboardInterrupt):
    """A restoration that was interrupted. result: the best so far, None before the first iteration."""

    def __init__(self, result: RestorationResult | None) -> None:
        super().__init__()
        self.result = result


def restore(
    image: npt.ArrayLike,
    task: Task | None = None,
    *,
    clean: npt.ArrayLike | None = None,
    sparse: SparsityConfig | None = None,
    iterations: int | None = None,
    stop: str | None = "wmv",
    patience: int = 300,
    seed: int = 0,
    width: float = 1.0,
    scales: int = 5,
    run_dir: str | Path | None = None,
    checkpoint_every: int = 200,
    log_every: int = 50,
    device: str | None = None,
    precision: str = "float32",
    compiled: bool = False,
    title: str | None = None,
    progress: bool = True,
) -> RestorationResult:
    """Restore one image by Deep Image Prior, with or without a regularizer on every encoder scale.

    image: (H, W) or (H, W, 3), of any size; uint8, uint16, or floating point in [0, 1]. task: `Denoise()` by default,
    `Inpaint(mask)` or `Upscale(factor)`. clean: the image to measure PSNR and SSIM against; it decides nothing. sparse: what
    to attach, None for nothing; at all encoder scales unless it names sites, with our k unless it gives settings.
    iterations: at most so many; by default the official number. stop: "wmv" or "emv" for a rule that needs no clean image
    (see `stopping`), over after patience iterations without a lower variance; None for all the iterations, as in the
    paper's protocol. seed: of everything that is random.
    width: multiplies the channels of the network. scales: of the network, each halving the image; the image must not be
    smaller than what they reach over. run_dir: where the log and checkpoints are written, and from which the same call
    goes on; by default nowhere. checkpoint_every, log_every: in iterations. precision: "float32", or "bfloat16" by automatic
    mixed precision. compiled: run the network by torch.compile, which pays on a GPU. title: what progress calls it.
    progress: whether there is any, on stderr.

    Raises ConfigError for what cannot be restored, and where run_dir holds something else; DivergedError for a loss that is
    not finite; Interrupted, a KeyboardInterrupt that carries the best result so far, with a checkpoint where there is a
    run_dir.
    """
    need("restoration", "restore", "safetensors", "skimage")
    task = Denoise() if task is None else task
    given, true = check(
        image,
        task,
        clean,
        iterations=iterations,
        stop=stop,
        patience=patience,
        width=width,
        scales=scales,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        precision=precision,
    )
    budget = task.settings.iterations if iterations is None else iterations
    sparse = attachable(sparse, "restore", RESTORING)
    check_length(sparse, budget)
    config = RestorationConfig(
        task.identity(),
        {"size": [given.shape[3], given.shape[2]], "channels": given.shape[1], "sha256": digest(given.numpy())},
        None if true is None else digest(true.numpy()),
        budget,
        stop,
        patience,
        seed,
        width,
        scales,
        precision,
        compiled,
        None if sparse is None else sparse.flat(),
    )
    place = device_of(device)
    stopping = Stopping(stop, patience)
    directory = None if run_dir is None else RunDirectory(Path(run_dir))
    every = {"checkpoint_every": checkpoint_every, "log_every": log_every}
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        restoration = Restoration(
            given,
            task,
            sparse,
            stopping,
            seed=seed,
            width=width,
            scales=scales,
            clean=true,
            device=place,
            precision=precision,
            compiled=compiled,
        )
        with directory.locked() if directory else nullcontext():
            if directory is None or not _resumed(restoration, directory, config, place):
                tell(precision, place)
                report = RestorationReport(title or task.name, restoration, budget, directory, progress)
                _iterate(restoration, budget, directory, report, **every)
    return restoration.result()


def _resumed(
    restoration: Restoration, directory: RunDirectory, config: RestorationConfig, place: torch.device
) -> bool:
    """Begin a restoration's directory, or go on from its latest checkpoint. Returns whether it was finished."""
    directory.open(config)
    if directory.step and restoration.load(directory.checkpoints, directory.step):
        return True
    checkpoints.clean(directory.checkpoints)
    environment.note(directory.path, place)
    directory.trim(restoration.iteration)
    return False


def check(
    image: npt.ArrayLike,
    task: Task,
    clean: npt.ArrayLike | None = None,
    *,
    iterations: int | None = None,
    stop: str | None = "wmv",
    patience: int = 300,
    width: float = 1.0,
    scales: int = 5,
    checkpoint_every: int = 200,
    log_every: int = 50,
    precision: str = "float32",
) -> tuple[Tensor, Tensor | None]:
    """image and clean as (1, C, H, W), float32. Arguments are as of `restore`; raises ConfigError for what it would refuse."""
    whole = {
        "iterations": 1 if iterations is None else iterations,
        "checkpoint_every": checkpoint_every,
        "log_every": log_every,
        "scales": scales,
    }
    for name, value in whole.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")
    if not 0 < width <= 4:
        raise ConfigError(f"width is {width:g}; give a factor above 0 and up to 4, 1 for the official network")
    if precision not in ("float32", "bfloat16"):  # float16 would need its loss scaled
        raise ConfigError(one_of("precision", precision, ("float32", "bfloat16")))
    Stopping(stop, patience)
    given = _tensor(image, "image")
    task.check(given.shape[2:])
    check_size(task, given.shape, width, scales)
    if clean is None:
        return given, None
    true = _tensor(clean, "clean image")
    expected = (1, given.shape[1], *task.size(given.shape[2:]))
    if tuple(true.shape) != expected:
        raise ConfigError(
            f"the clean image is {_size(true.shape)} and the restored one will be {_size(expected)}; give one of that size"
        )
    return given, true


def _iterate(
    restoration: Restoration,
    budget: int,
    directory: RunDirectory | None,
    report: RestorationReport,
    checkpoint_every: int,
    log_every: int,
) -> None:
    """The loop."""

    def save(finished: bool) -> None:
        if directory is not None:
            directory.still_ours()
            restoration.save(directory.checkpoints, finished)

    with report, _interruptible(report.loud) as asked:
        try:
            while restoration.iteration < budget and not restoration.stopping.over and not asked():
                now = restoration.iteration + 1
                logged = now in (1, budget) or now % log_every == 0
                restoration.step(logged)
                report.tick(logged or restoration.stopping.over)
                if now % checkpoint_every == 0 and now != budget:
                    save(finished=False)
        except KeyboardInterrupt:  # in the middle of an iteration, from which nothing can go on
            raise Interrupted(restoration.result() if restoration.curves.loss else None) from None
        finished = restoration.iteration >= budget or restoration.stopping.over
        if restoration.iteration:
            save(finished)
        if not finished:
            raise Interrupted(restoration.result() if restoration.iteration else None)


@contextmanager
def _interruptible(say: bool) -> Iterator[Callable[[], bool]]:
    """Let the first SIGINT or SIGTERM only be noted, so that the iteration at work is finished; a second one interrupts.

    Elsewhere than in the main thread, where signals cannot be handled, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)
        if say:  # not through a stream, in whose writing the signal may have come
            os.write(2, b"\ninterrupted: stopping after this iteration; again to stop at once\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tensor(image: npt.ArrayLike, what: str) -> Tensor:
    """(1, C, H, W), float32. Raises ConfigError for an array that is no image with values in [0, 1]."""
    array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)) or 0 in array.shape:
        raise ConfigError(f"the {what} has the shape {array.shape}; give (height, width) or (height, width, 3)")
    if array.dtype in (np.uint8, np.uint16):
        array = array / np.float64(np.iinfo(array.dtype).max)
    elif array.dtype.kind != "f":
        raise ConfigError(f"the {what} is of {array.dtype}; give uint8, uint16, or floating point in [0, 1]")
    if not np.isfinite(array).all():
        raise ConfigError(f"the {what} holds NaN or infinity; replace those values")
    if array.min() < 0 or array.max() > 1:
        raise ConfigError(f"the {what} has values from {array.min():.4g} to {array.max():.4g}; scale them to 0 to 1")
    planes = array.reshape(*array.shape[:2], -1).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))[None]


def _size(shape: Any) -> str:
    return f"{shape[3]}x{shape[2]}, {'grey' if shape[1] == 1 else 'RGB'}"

"""`restore`: the restoration of one image, from its array to the result."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sparse_plugin.config import SparsityConfig
from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.restore import race
from sparse_plugin.restore.held_out import HeldOut, HeldOutError, count, refits
from sparse_plugin.restore.iterating import Loop, interruptible, iterate
from sparse_plugin.restore.report import RestorationReport
from sparse_plugin.restore.restoration import Restoration
from sparse_plugin.restore.result import RestorationResult
from sparse_plugin.restore.stopping import HELD_OUT, Stopping
from sparse_plugin.restore.task_network import check_size
from sparse_plugin.restore.tasks import Denoise, Task, digest
from sparse_plugin.runs import checkpoints, environment
from sparse_plugin.runs.config import RestorationConfig
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.runs.sparsity import RESTORING, attachable, check_length
from sparse_plugin.support.device import device_of
from sparse_plugin.support.optional import need
from sparse_plugin.support.precision import tell


def restore(
    image: npt.ArrayLike,
    task: Task | None = None,
    *,
    clean: npt.ArrayLike | None = None,
    sparse: SparsityConfig | None = None,
    iterations: int | None = None,
    stop: str | None = "auto",
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
    With `k: auto` several k are raced by held-out pixels (see `race`), in at most twice the iterations, and the result is of the best.
    iterations: at most so many; by default the official number. stop: "wmv", "emv" or "heldout" for a rule that needs no clean
    image (see `stopping`), over after patience iterations without a lower variance, or error at held-out pixels; "auto" for the
    first, or under `k: auto` the last; None for all the iterations, as in the paper's protocol. seed: of everything that is random.
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
        sparse=sparse,
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
    raced = race.asked(sparse)
    stop = rule_of(stop, raced)
    if not raced:
        check_length(sparse, budget)
    config = RestorationConfig(
        task=task.identity(),
        image={"size": [given.shape[3], given.shape[2]], "channels": given.shape[1], "sha256": digest(given.numpy())},
        clean=None if true is None else digest(true.numpy()),
        iterations=budget,
        stop=stop,
        patience=patience,
        seed=seed,
        width=width,
        scales=scales,
        precision=precision,
        compiled=compiled,
        sparse=None if sparse is None else sparse.flat(),
    )
    place = device_of(device)
    begin = partial(
        _begin,
        *(given, task, Stopping(stop, patience)),
        seed=seed,
        width=width,
        scales=scales,
        clean=true,
        device=place,
        precision=precision,
        compiled=compiled,
    )
    directory = None if run_dir is None else RunDirectory(Path(run_dir))
    every = {"checkpoint_every": checkpoint_every, "log_every": log_every}
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        candidates = race.candidates(sparse, begin, directory) if raced else []
        restoration = candidates[0].restoration if raced else begin(sparse)
        with directory.locked() if directory else nullcontext():
            if directory is None or not _resumed(restoration, candidates, directory, config, place):
                tell(precision, place)
                restoration = _iterated(restoration, candidates, budget, directory, title or task.name, progress, **every)
            if directory is not None:
                race.forget(directory)
    return restoration.result()


def _iterated(
    restoration: Restoration,
    candidates: list[race.Candidate],
    budget: int,
    directory: RunDirectory | None,
    title: str,
    progress: bool,
    **every: int,
) -> Restoration:
    """Bring a restoration to its end, or race the candidates, of which it is the first. Returns the one whose result it is."""
    total = race.bound(budget) if candidates else budget + (refits(budget) if restoration.stopping.rule == HELD_OUT else 0)
    others = sum(each.restoration.iteration for each in candidates[1:])
    report = RestorationReport(title, restoration, total, directory, progress, others)
    with report, interruptible(report.loud) as asked:
        loop = Loop(budget, directory, report, asked=asked, **every)
        if candidates:
            return race.run(candidates, loop)
        iterate(restoration, loop)
    return restoration


def _begin(
    given: Tensor,
    task: Task,
    rule: Stopping,
    sparse: SparsityConfig | None,
    *,
    device: torch.device,
    seed: int,
    **shape: Any,
) -> Restoration:
    """A restoration before its first iteration. rule: of which it has one of its own."""
    stopping = Stopping(rule.rule, rule.patience)
    if rule.rule == HELD_OUT:
        given = given.to(device)
        task = held_out = HeldOut(task, given, seed)
        stopping.measure = HeldOutError(held_out, given)
    return Restoration(given, task, sparse, stopping, device=device, seed=seed, **shape)


def _resumed(
    restoration: Restoration,
    candidates: list[race.Candidate],
    directory: RunDirectory,
    config: RestorationConfig,
    place: torch.device,
) -> bool:
    """Begin a restoration's directory, or go on from its latest checkpoint. Returns whether it was finished."""
    directory.open(config)
    if directory.step and restoration.load(directory.checkpoints, directory.step):
        return True
    for candidate in candidates:
        candidate.resume()
    checkpoints.clean(directory.checkpoints)
    environment.note(directory.path, place)
    directory.trim(sum(each.restoration.iteration for each in candidates) or restoration.iteration)
    return False


def rule_of(stop: str | None, raced: bool) -> str | None:
    """The rule that "auto" stands for. Raises ConfigError for a rule that cannot tell one k from another."""
    if stop == "auto":
        return HELD_OUT if raced else "wmv"
    if raced and stop != HELD_OUT:
        what = "no rule" if stop is None else f"the rule {stop!r}"
        raise ConfigError(
            f"k is auto and {what} is to stop: only the error at held-out pixels tells one k from another; leave the rule out, or "
            f"give {HELD_OUT!r}"
        )
    return stop


def check(
    image: npt.ArrayLike,
    task: Task,
    clean: npt.ArrayLike | None = None,
    *,
    sparse: SparsityConfig | None = None,
    iterations: int | None = None,
    stop: str | None = "auto",
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
    raced = race.asked(attachable(sparse, "restore", RESTORING))
    rule = rule_of(stop, raced)
    Stopping(rule, patience)
    if raced:
        race.check(task.settings.iterations if iterations is None else iterations)
    given = _tensor(image, "image")
    task.check(given.shape[2:])
    if rule == HELD_OUT:
        count(task, given.shape[2:])
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

"""Whole steps on a device: what the plugin adds to them, and how many a second the trainers of GANs take."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kernels import Note, unsaid

from sparse_plugin import SparsityConfig
from sparse_plugin.data import Images
from sparse_plugin.experiments import files
from sparse_plugin.gans import architectures, recipe
from sparse_plugin.gans.trainer import Trainer
from sparse_plugin.runs.config import DataConfig, RunConfig
from sparse_plugin.runs.parallel import processes
from sparse_plugin.runs.rundir import RunDirectory

METHODS = {"l0_inf": {"k": 0.25}, "l0": {"k": 0.25}, "l1": {"weight": 10.0}}


def _trainer(arch: str, options: argparse.Namespace, method: str | None, precision: str = "float32") -> Trainer:
    chosen = recipe(arch)
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (512, 3, 32, 32), dtype=torch.uint8, generator=source)
    images = Images(pixels, torch.arange(512) % 10, tuple("0123456789"), "made up")
    width, batch = (1 / 16, 4) if options.quick else (1.0, chosen.batch)
    classes = 10 if chosen.conditional else 0
    config = RunConfig(
        arch, 32, width, batch, 1000, chosen.accumulation, precision, 0, classes, None, DataConfig(1.0)
    )
    sparse = None if method is None else SparsityConfig.from_mapping({"regularizer": method, **METHODS[method]})
    with processes(options.device) as group:
        return Trainer(chosen, images, config, sparse, RunDirectory(Path(tempfile.mkdtemp())), group)


def _timed(candidates: dict[str, Callable[[], object]], device: str, count: int) -> dict[str, float]:
    """Median seconds of each, in turn, so that what else the machine does falls on all alike; the first two left out."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(count + 2):
        for name, step in candidates.items():
            begin = time.perf_counter()
            step()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if turn >= 2:
                taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _stepping(trainer: Trainer) -> Callable[[], None]:
    done = iter(range(10**9))
    return lambda: trainer.train_step(next(done))


def _prior(options: argparse.Namespace, method: str | None) -> Callable[[], object]:
    """An iteration of Deep Image Prior at 512 pixels."""
    from sparse_plugin.restore import Denoise
    from sparse_plugin.restore.restoration import Restoration
    from sparse_plugin.restore.stopping import Stopping

    side = 64 if options.quick else 512
    source = torch.Generator().manual_seed(0)
    sparse = None if method is None else SparsityConfig.from_mapping({"regularizer": method, **METHODS[method]})
    made = Restoration(
        torch.rand(1, 3, side, side, generator=source), Denoise(25), sparse, Stopping(None, 1),
        seed=0, width=1 / 8 if options.quick else 1.0, scales=5, clean=None, device=torch.device(options.device),
    )  # fmt: skip
    return lambda: made.step(False)


def steps(options: argparse.Namespace, note: Note = unsaid) -> dict[str, Any]:
    """Seconds a step without and with each regularizer, in turn, in float32."""
    count = 3 if options.quick else 25
    archs = ("dcgan",) if options.quick else ("dcgan", "sngan", "biggan")
    makes: dict[str, Callable[[str | None], Callable[[], object]]] = {
        recipe(arch).title: lambda method, arch=arch: _stepping(_trainer(arch, options, method)) for arch in archs
    }
    prior = "Deep Image Prior, 512 pixels"
    makes[prior] = lambda method: _prior(options, method)
    rows, table = [], []
    for title, make in makes.items():
        asked = [method for method in (None, *METHODS) if (title, method) != (prior, "l1")]
        found = _timed({str(method): make(method) for method in asked}, options.device, count)
        rows.append({"step": title, "seconds": found})
        off = found["None"]
        table.append([title, f"{1e3 * off:.2f}", *(f"{found[m] / off:.3f}" if m in found else "" for m in METHODS)])
        heading = ["", "off, ms a step", *(f"{name}, on / off" for name in METHODS)]
        told = {"lines": [f"Medians of {count} steps.", "", files.markdown(heading, table)], "rows": rows}
        note(told)
    return {"done": True, **told}


def trainers(options: argparse.Namespace, note: Note = unsaid) -> dict[str, Any]:
    """Steps a second of every recipe, as it is and compiled, and the hours of a run at the paper's scale."""
    count = 2 if options.quick else 15
    rows: list[dict[str, Any]] = []
    table = []
    variants = ("float32", "float32, compiled", "bfloat16", "bfloat16, compiled")
    heading = ["", *variants, "fastest", "hours of the recipe's steps"]
    begin = time.time()
    for arch in ("dcgan", "wgan_gp") if options.quick else architectures():
        found: dict[str, float | str] = {}
        for precision in ("float32", "bfloat16"):
            for compiled in (False, True):
                if compiled and (options.quick or time.time() - begin > 400):
                    continue
                trainer = _trainer(arch, options, None, precision)
                for player in trainer.networks.values() if compiled else ():
                    player.module.compile()
                name = f"{precision}{', compiled' if compiled else ''}"
                try:
                    found[name] = 1 / _timed({name: _stepping(trainer)}, options.device, count)[name]
                except Exception as error:  # what inductor cannot do
                    found[name] = f"{type(error).__name__}: {str(error)[:200]}"
        row: dict[str, Any] = {"arch": arch, "steps a second": found}
        speeds = {name: value for name, value in found.items() if isinstance(value, float)}
        cells = [f"{v:.3g}" if isinstance(v := found.get(n, ""), float) else v and "failed" for n in variants]
        if speeds:
            fastest = max(speeds, key=lambda name: speeds[name])
            hours = recipe(arch).steps / speeds[fastest] / 3600
            row |= {"fastest": fastest, "hours of the recipe's steps": hours}
            cells += [fastest, f"{hours:.2g}"]
        rows.append(row)
        table.append([recipe(arch).title, *cells, *[""] * (len(heading) - 1 - len(cells))])
        told = {"lines": ["Steps a second.", "", files.markdown(heading, table)], "rows": rows}
        note(told)
    return {"done": all("fastest" in row for row in rows), **told}

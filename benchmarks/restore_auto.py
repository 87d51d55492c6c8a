"""`k: auto` of a restoration against what only the clean image can tell: `python benchmarks/restore_auto.py --images FOLDER`.

Of every photograph and σ: a grid of k, each for all the iterations, of which the best averaged output of any k and iteration is the
reference (k = 1.0 is the plain restoration, to the bit); what ES-WMV alone would have taken of the plain one, and of the one with
the k that is ours for a constraint; and `k: auto`, which sees no clean image. The same network, noise and seed for all.

--record gets a line a finished run, and what stands there is not run again; a run that was cut short goes on from its checkpoint
below --runs. --part 1/2 and 2/2 share the work of two processes. Prints a table of the photographs and σ whose runs are all there.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sparse_plugin import SparsityConfig
from sparse_plugin.restore import Denoise, RestorationResult, add_noise, restore
from sparse_plugin.restore.pictures import read
from sparse_plugin.restore.stopping import Stopping
from sparse_plugin.support.files import append, lines

GRID = (1.0, 0.5, 0.25, 0.1)
OURS = {"l0_inf": 0.1, "l0": 0.25}
PATIENCE = 300


def photographs(folder: Path, side: int) -> dict[str, Any]:
    """The central squares of twice the side, scaled down to it: (side, side, 3) in [0, 1]."""
    found = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif")):
        pixels = read(path).pixels
        pixels = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels
        whole = min(2 * side, *pixels.shape[:2])
        top, left = ((length - whole) // 2 for length in pixels.shape[:2])
        square = Image.fromarray((255 * pixels[top : top + whole, left : left + whole]).round().astype(np.uint8))
        found[path.stem] = np.asarray(square.resize((side, side), Image.Resampling.LANCZOS), np.float32) / 255
    return found


def wmv(result: RestorationResult) -> dict[str, Any]:
    """What ES-WMV takes of a run that went on to the end."""
    stopping, kept, at = Stopping("wmv", PATIENCE), 0, 0
    stopping.measure = lambda value: None if math.isnan(value) else value  # type: ignore[assignment]
    for at, value in enumerate(result.curves.variance, 1):
        if stopping.see(value):  # type: ignore[arg-type]
            kept = at
        if stopping.over:
            break
    return {"psnr": result.curves.psnr_average[(kept or at) - 1], "iteration": kept or at, "iterations": at}


def run(clean: Any, sigma: float, k: float | str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One line's figures: of a k of the grid, or of "auto"."""
    sparse = SparsityConfig.from_mapping({"regularizer": options.regularizer, "k": k})
    automatic = k == "auto"
    result = restore(
        add_noise(clean, sigma, 0),
        Denoise(sigma),
        clean=clean,
        sparse=sparse,
        iterations=options.iterations,
        stop="auto" if automatic else "wmv",
        patience=PATIENCE if automatic else options.iterations,  # the grid goes on to the end
        width=options.width,
        scales=options.scales,
        run_dir=folder,
        log_every=options.iterations,
        progress=False,
    )
    psnr, at = result.curves.best("psnr_average")
    found: dict[str, Any] = {"noisy": result.scores["psnr_given"], "best": psnr, "best_iteration": at}
    if result.chosen is None or not automatic:
        return found | {"wmv": wmv(result), "last": result.curves.psnr_average[-1]}
    return found | {"psnr": result.scores["psnr_average"], "chosen": result.chosen.to_json()}


def table(records: list[dict[str, Any]], regularizer: str) -> str:
    """A row for every photograph and σ whose runs are all there, and means."""
    units: dict[tuple[str, float], dict[Any, dict[str, Any]]] = {}
    for record in records:
        units.setdefault((record["image"], record["sigma"]), {})[record["k"]] = record
    rows, gaps, plain, ours, costs = [], [], [], [], []
    for (image, sigma), of in sorted(units.items()):
        if not all(k in of for k in (*GRID, "auto")):
            continue
        best = max((of[k] for k in GRID), key=lambda record: record["best"])
        auto, vanilla, fixed = of["auto"], of[1.0]["wmv"], of[OURS[regularizer]]["wmv"]
        gaps.append(auto["psnr"] - best["best"])
        plain.append(vanilla["psnr"] - best["best"])
        ours.append(fixed["psnr"] - best["best"])
        costs.append(auto["chosen"]["iterations"] / auto["iterations"])
        rows.append(
            f"| {image} | {sigma:g} | {auto['noisy']:.2f} | {best['best']:.2f}, k {best['k']:g}, {best['best_iteration']} | "
            f"{auto['psnr']:.2f}, k {auto['chosen']['k'][0]:g}, {auto['chosen']['iteration']} | {gaps[-1]:+.2f} | {costs[-1]:.2f} | "
            f"{vanilla['psnr']:.2f}, {vanilla['iteration']} ({plain[-1]:+.2f}) | "
            f"{fixed['psnr']:.2f}, {fixed['iteration']} ({ours[-1]:+.2f}) |"
        )
    if not rows:
        return "No photograph and σ has all its runs yet.\n"
    parts = [
        "| photograph | σ | noisy | best k and iteration by the clean image | `k: auto` | difference | iterations / plain | "
        f"ES-WMV, plain | ES-WMV, k {OURS[regularizer]:g} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    mean = [
        f"{len(rows)} of photograph and σ: `k: auto` {spread(gaps)} dB against the best, at {statistics.mean(costs):.2f} "
        f"(at most {max(costs):.2f}) times the iterations of a plain run;",
        f"ES-WMV alone {spread(plain)} dB, and with k = {OURS[regularizer]:g} {spread(ours)} dB. `k: auto` is above ES-WMV alone in "
        f"{sum(a > b for a, b in zip(gaps, plain, strict=True))} of {len(rows)}.",
    ]
    for sigma in sorted({sigma for _, sigma in units}):
        of_sigma = [gap for gap, row in zip(gaps, rows, strict=True) if row.split(" | ")[1] == f"{sigma:g}"]
        if of_sigma:
            mean.append(f"σ {sigma:g}: {spread(of_sigma)} dB.")
    return "\n".join([*parts, "", *mean]) + "\n"


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):+.2f} (from {min(values):+.2f} to {max(values):+.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of photographs; not needed with --collect")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50])
    parser.add_argument("--regularizer", choices=OURS, default="l0_inf")
    parser.add_argument("--side", type=int, default=96, help="in pixels (default 96)")
    parser.add_argument("--iterations", type=int, default=1200, help="of one restoration (default 1200)")
    parser.add_argument("--turns", type=int, help="how many of the sigmas each photograph gets, the first another one (default all)")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--scales", type=int, default=4)
    parser.add_argument("--part", default="1/1", help="which part of the photographs and sigmas, as 1/2")
    parser.add_argument("--runs", type=Path, default=Path("runs/restore_auto"))
    parser.add_argument("--record", type=Path, default=Path(__file__).parent.parent / "docs/results/restore_auto.jsonl")
    parser.add_argument("--collect", action="store_true", help="make the table, and run nothing")
    options = parser.parse_args(arguments)
    if options.images is None and not options.collect:
        parser.error("no photographs were given: name their folder by --images, or ask for --collect alone")
    part, parts = map(int, options.part.split("/"))
    options.record.parent.mkdir(parents=True, exist_ok=True)
    images = {} if options.collect else photographs(options.images, options.side)
    asked = {name: getattr(options, name) for name in ("regularizer", "side", "iterations", "width", "scales")}
    count = len(options.sigmas)
    # Every photograph once before the first a second time, with all sigmas alike.
    units = [(name, options.sigmas[(i + turn) % count]) for turn in range(count)[: options.turns] for i, name in enumerate(images)]

    def recorded() -> list[dict[str, Any]]:
        found = list(lines(options.record)) if options.record.exists() else []
        return [record for record in found if all(record[name] == value for name, value in asked.items())]

    for name, sigma in units[part - 1 :: parts]:
        for k in ("auto", *GRID):
            if any((r["image"], r["sigma"], r["k"]) == (name, sigma, k) for r in recorded()):
                continue
            folder = options.runs / f"{name}-{sigma:g}-{options.regularizer}-{k}"
            since, processor = time.perf_counter(), time.process_time()
            found = run(images[name], sigma, k, folder, options)
            seconds = {"seconds": time.perf_counter() - since, "processor_seconds": time.process_time() - processor}
            about = {"threads": torch.get_num_threads(), "torch": torch.__version__}
            append(options.record, {"image": name, "sigma": sigma, "k": k, **asked, **found, **seconds, **about})
            shutil.rmtree(folder)
            print(name, sigma, k, json.dumps(found), file=sys.stderr, flush=True)
    print(table(recorded(), options.regularizer))


if __name__ == "__main__":
    main()

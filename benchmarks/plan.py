"""Table 1 at the paper's scale on 1, 8 and 64 GPUs, on paper: `python benchmarks/plan.py [--rate 15]`.

Hours of runs are no measurement: they are the operations that `cost.py` counts at a rate that is assumed, without evaluation. Runs
are placed in the grid's order, each on the GPU that is free first. What is measured here, on this machine's disk: a sign of life
of a run, and a look of the engine at one. Bytes of checkpoints are counted: weights, Adam's two moments and averages, in float32.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from pathlib import Path
from statistics import median

from cost import operations

from sparse_plugin.engines.placing import LOOK
from sparse_plugin.experiments.grid import SCALES, gan_runs
from sparse_plugin.experiments.paper import TABLES
from sparse_plugin.gans import recipe
from sparse_plugin.gans.gan import build
from sparse_plugin.runs import lease
from sparse_plugin.runs.lease import Lease, look


def placed(hours: list[float], gpus: int) -> float:
    """Hours until the last run ends."""
    free = [0.0] * gpus
    for each in hours:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def checkpoint(arch: str) -> int:
    """Bytes."""
    chosen = recipe(arch)
    made = build(chosen, 1.0, 10 if chosen.conditional else 0)
    nets = [net for net in (made.generator, made.discriminator, made.encoder) if net is not None]
    sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
    return 4 * (3 * sum(sizes) + (sizes[0] if chosen.ema else 0))


def lease_seconds() -> tuple[float, float]:
    """Of a sign of life, and of a look at somebody's."""
    beats, looks = [], []
    with tempfile.TemporaryDirectory() as folder:
        taken = Lease.take(Path(folder))
        assert isinstance(taken, Lease)
        for _ in range(200):
            began = time.perf_counter()
            lease._rewrite(taken.path, lease._content(taken.mine, taken.every))
            between = time.perf_counter()
            look(Path(folder))
            beats.append(between - began)
            looks.append(time.perf_counter() - between)
        taken.release()
    return median(beats), median(looks)


def main() -> None:
    """The table, and what else the runs ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=15.0, help="10^12 operations a second, of one GPU")
    given = parser.parse_args()
    runs = gan_runs(TABLES["table1"], SCALES["paper"], controls=True)
    archs = list(dict.fromkeys(run.recipe.arch for run in runs))
    step = {arch: operations(arch) / given.rate / 1e12 for arch in archs}
    hours = [run.steps * step[run.recipe.arch] / 3600 for run in runs]
    print(f"{len(runs)} runs, {sum(hours):.0f} hours of one GPU at {given.rate:g} · 10^12/s, the longest run {max(hours):.1f}\n")
    print("| GPUs | hours | of which all GPUs are busy |\n| --- | --- | --- |")
    for gpus in (1, 8, 64):
        took = placed(hours, gpus)
        print(f"| {gpus} | {took:.0f} | {100 * sum(hours) / gpus / took:.0f} % |")
    longest_first = placed(sorted(hours, reverse=True), 64)
    print(f"\nlongest first, 64 GPUs: {longest_first:.0f} hours")
    sizes = {arch: checkpoint(arch) for arch in archs}
    written = sum(run.steps // 1000 * sizes[run.recipe.arch] for run in runs)  # every 1000 steps, of which three are kept
    most = written / placed(hours, 64) / 3600 / 1e6
    print(f"checkpoints: {max(sizes.values()) / 1e6:.0f} MB at most, {written / 1e12:.1f} TB in all, {most:.0f} MB/s on 64 GPUs on average")
    beat, seen = lease_seconds()
    often = f"{64 / lease.BEAT:.1f} and up to {64 / LOOK:.0f} of them a second"
    print(f"a sign of life takes {1e3 * beat:.2f} ms, a look {1e3 * seen:.2f} ms: of 64 runs {often}")


if __name__ == "__main__":
    main()

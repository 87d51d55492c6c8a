"""What engines cost: `python benchmarks/engines.py [--repeats 3] [--steps 400]`, on two cores.

A grid of eight short runs, two at once, by `--engine local` and by `--engine ray`, in turns: from the command to the first step
of a run (start), from there to the last result (then), and the most memory (proportional set sizes of all processes that
the command started). Then the same grid on one simulated node of one core, and on two. Figures are medians of repeats on
whatever else the machine does, and ratios of repeats that lie side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sparse_plugin.runs import attempts
from sparse_plugin.support.files import write

HERE = Path(__file__).parent


def tree(root: int) -> set[int]:
    """The processes below one, and it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    found, size = {root}, 0
    while len(found) > size:
        size = len(found)
        found |= {process for process, parent in parents.items() if parent in found}
    return found


def memory(root: int) -> float:
    """Of a tree of processes, in 10^9 bytes: what they share counts once."""
    total = 0
    for process in tree(root):
        with suppress(OSError, ValueError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e9


def made(out: Path, data: Path, steps: int, *place: str) -> dict[str, float]:
    """A grid, made anew."""
    shutil.rmtree(out, ignore_errors=True)
    run = ["--archs", "dcgan", "--methods", "vanilla,l0_inf:k=0.25", "--width", "0.125", "--batch", "16", "--steps", str(steps)]
    measure = ["--seeds", "4", "--samples", "40", "--metric", "KID-lite0", "--kid-subset", "20", "--device", "cpu", "--cpus", "1"]
    words = ["experiment", "table1", "--out", str(out), "--data", str(data), *run, *measure, *place]
    began, most = time.time(), 0.0
    with open(f"{out}.log", "ab") as log:
        child = subprocess.Popen([sys.executable, "-m", "sparse_plugin", *words], stdout=log, stderr=log)
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(2.0):
            most = max(most, memory(child.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    code = child.wait()
    ended = time.time()
    over.set()
    thread.join()
    if code:
        raise SystemExit(f"{shutil.which('sparse-plugin')} ended with {code}; see {out}.log")
    runs = list(out.glob("dcgan/*/seed*"))
    first = min(attempts.read(run)[0]["time"] for run in runs)
    last = max((run / "result.json").stat().st_mtime for run in runs)
    return {"start": first - began, "then": last - first, "whole": ended - began, "memory": most}


def told(rows: list[dict[str, float]]) -> dict[str, float]:
    """Medians."""
    return {name: round(median(row[name] for row in rows), 2) for name in rows[0]}


def main() -> None:
    """Measure, and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", choices=("overhead", "nodes"))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    out = Path(tempfile.mkdtemp(prefix="engines-"))
    images = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), dtype=np.uint8)
    np.savez(out / "images.npz", images=images, labels=np.arange(256) % 4)
    rows: dict[str, list[dict[str, float]]] = {}

    def measure(name: str, *place: str) -> None:
        rows.setdefault(name, []).append(made(out / name, out / "images.npz", given.steps, *place))
        print(name, {key: round(value, 2) for key, value in rows[name][-1].items()}, flush=True)

    for _ in range(given.repeats if given.only != "nodes" else 0):
        measure("local", "--jobs", "2")
        measure("ray", "--engine", "ray")
    if given.only != "overhead":
        nodes(measure, given.repeats)
    said: dict[str, Any] = {name: told(each) for name, each in rows.items()}
    for name, (first, second) in {"overhead of ray": ("ray", "local"), "throughput of two nodes": ("one node", "two nodes")}.items():
        if first in rows:
            said[name] = round(median(a["then"] / b["then"] for a, b in zip(rows[first], rows[second], strict=True)), 3)
    print(json.dumps(said, indent=1))
    (HERE / "results").mkdir(exist_ok=True)
    write(HERE / "results" / "engines.json", json.dumps({"rows": rows, "medians": said}, indent=1))


def nodes(measure: Any, repeats: int) -> None:
    """One node of a core, and two."""
    from ray.cluster_utils import Cluster

    share = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster()
    cluster.add_node(**share, include_dashboard=False)
    try:
        for _ in range(repeats):
            measure("one node", "--engine", "ray", "--address", str(cluster.address))
            second = cluster.add_node(**share)
            cluster.wait_for_nodes()
            measure("two nodes", "--engine", "ray", "--address", str(cluster.address))
            cluster.remove_node(second)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()

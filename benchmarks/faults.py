"""Faults injected into grids, on this machine: `python benchmarks/faults.py [NAME ...] [--out DIR]`; `--list` names them.

After each, the same command is given again until it is done. What counts: the final weights and the scores are those of a
grid that nothing happened to, to the bit; no two processes trained a run at once, and none was trained again that was finished
(by its own log); nothing of what was kept was lost. Two nodes are two of Ray's on this machine, of a core each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparse_plugin.runs import attempts
from sparse_plugin.support.files import lines, sha256, write

HERE = Path(__file__).parent
STEPS, EVERY, RUNS = 30, 5, ("vanilla/seed0", "l0_inf-k=0.25/seed0", "vanilla/seed1", "l0_inf-k=0.25/seed1")
# Seconds between two signs of life, and without one: a twelfth of what is usual, so that dead hosts are given up in six.
BEAT = 0.5


@dataclass(frozen=True)
class Fault:
    """what: as of `fault_injection`, or of `ACTS`. engine: local or ray. act: done beside the command, when the mark is there.
    code: of the first command. again: whether the same command is given again.
    """

    name: str
    engine: str
    what: str
    act: str = ""
    code: int | None = 0
    again: bool = False
    before: str = ""


FAULTS = (
    *(Fault(f"{engine}: a worker is killed in training", engine, "killed") for engine in ("local", "ray")),
    *(Fault(f"{engine}: a worker is killed in measuring", engine, "killed-measuring") for engine in ("local", "ray")),
    *(Fault(f"{engine}: a worker is killed as it writes a checkpoint", engine, "killed-writing") for engine in ("local", "ray")),
    *(Fault(f"{engine}: the driver is killed", engine, "reached", "kill", -9, True) for engine in ("local", "ray")),
    Fault("ray: a whole node dies", "ray", "reached", "node"),
    *(Fault(f"{engine}: a disk is full", engine, "full") for engine in ("local", "ray")),
    *(Fault(f"{engine}: a run diverges", engine, "diverges", code=1) for engine in ("local", "ray")),
    *(Fault(f"{engine}: a run hangs", engine, "hangs") for engine in ("local", "ray")),
    *(Fault(f"{engine}: a lease whose owner died on another host", engine, "-", before="dead lease") for engine in ("local", "ray")),
    *(Fault(f"{engine}: clocks that are off by minutes", engine, "clocks") for engine in ("local", "ray")),
    Fault("local: a job's time limit (SIGTERM)", "local", "reached", "term", 143, True),
    Fault("local: a worker is suspended, taken over, and wakes up", "local", "suspended", "second"),
)


class Bench:
    """The grids of a benchmark. out: where; cluster: of two nodes, once one is needed."""

    def __init__(self, out: Path) -> None:
        self.out, self.cluster, self.second = out, None, None
        made = np.random.default_rng(0)
        self.data = out / "images.npz"
        np.savez(self.data, images=made.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8), labels=np.arange(48) % 4)

    def nodes(self) -> str:
        """The address of two nodes of a core each. Both are there: one that died has another in its place."""
        from ray.cluster_utils import Cluster

        share = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        if self.cluster is None:
            self.cluster = Cluster()
            self.cluster.add_node(**share, include_dashboard=False)
        if self.second is None:
            self.second = self.cluster.add_node(**share)
            self.cluster.wait_for_nodes()
        return str(self.cluster.address)

    def command(self, grid: Path, fault: Fault) -> list[str]:
        """The command that makes a grid."""
        run = ["--width", "0.0625", "--batch", "4", "--steps", str(STEPS), "--checkpoint-every", str(EVERY), "--seeds", "2"]
        measure = ["--samples", "40", "--metric", "KID-lite0", "--kid-subset", "20", "--device", "cpu", "--no-control"]
        rows = ["--archs", "dcgan", "--methods", "vanilla,l0_inf:k=0.25", "--import", str(HERE / "fault_injection.py")]
        place = ["--jobs", "2"] if fault.engine == "local" else ["--engine", "ray", "--address", self.nodes()]
        if fault.what == "hangs":
            place += ["--hanging", "0.1"]
        words = ["experiment", "table1", "--out", str(grid), "--data", str(self.data), "--cpus", "1", *run, *measure, *rows, *place]
        return [sys.executable, "-m", "sparse_plugin", *words]

    def start(self, grid: Path, fault: Fault) -> subprocess.Popen[bytes]:
        """The command, begun; what it says is in GRID.log."""
        told = {"SPARSE_PLUGIN_LEASE_SECONDS": str(BEAT), "SPARSE_PLUGIN_FAULT": f"{fault.what} - {grid}.mark"}
        with open(f"{grid}.log", "ab") as log:
            return subprocess.Popen(
                self.command(grid, fault), env={**os.environ, "OMP_NUM_THREADS": "1", **told}, stdout=log, stderr=log
            )

    def close(self) -> None:
        """Stop the nodes."""
        if self.cluster is not None:
            self.cluster.shutdown()


def dead_lease(grid: Path) -> None:
    """Of a process on a host that is gone, written by a clock that was ahead."""
    run = grid / "dcgan" / RUNS[1]
    run.mkdir(parents=True)
    owner = {"host": "gone 1 2", "process": 7, "began": "1", "token": "t", "every": BEAT}
    (run / ".lease.t").write_text(json.dumps(owner))
    os.utime(run / ".lease.t", (time.time() + 900,) * 2)


@contextmanager
def beside(bench: Bench, fault: Fault, grid: Path, first: subprocess.Popen[bytes]) -> Iterator[None]:
    """What is done to a command that is at work."""
    mark = Path(f"{grid}.mark")

    def act() -> None:
        while not mark.exists() and first.poll() is None:
            time.sleep(0.05)
        if fault.act in ("kill", "term"):
            first.send_signal(signal.SIGKILL if fault.act == "kill" else signal.SIGTERM)
        elif fault.act == "node":
            bench.cluster.remove_node(bench.second, allow_graceful=False)
            bench.second = None
        elif fault.act == "second":  # another command, which takes over what is suspended, to the end; then the first wakes up
            other = bench.start(grid, replace(fault, what="-"))
            other.wait()
            pid = next(line["process"] for line in attempts.read(Path(mark.read_text())) if "from" in line)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=act)
    if fault.act:
        thread.start()
    yield
    if fault.act:
        thread.join()


def found(grid: Path) -> dict[str, tuple[str, ...]]:
    """Of the finished runs, the hashes of the final weights and of the scores."""
    made = {}
    for name in RUNS:
        run = grid / "dcgan" / name
        if (run / "result.json").is_file():
            result = json.loads((run / "result.json").read_text())
            result["protocol"].pop("generated", None)
            weights = sorted((run / f"checkpoints/step-{STEPS:07d}").glob("*.safetensors"))
            made[name] = (*map(sha256, weights), json.dumps(result["scores"], sort_keys=True))
    return made


def wrong_logs(grid: Path, made: dict[str, Any]) -> list[str]:
    """What the runs' own logs say against: a step that is logged twice or not, a run that was trained again or by two at once."""
    wrong = []
    for name in made:
        run = grid / "dcgan" / name
        steps = [line["step"] for line in lines(run / "log.jsonl")]
        if sorted(steps) != sorted({*steps}) or steps[-1:] != [STEPS]:
            wrong.append(f"{name} logged the steps {steps}")
        tries, at = attempts.read(run), 0
        for line in tries:
            if "from" in line:
                if line["from"] % EVERY or line["from"] < at - EVERY:
                    wrong.append(f"{name} went on from step {line['from']}")
                at = max(at, line["from"])
        ends = [line["to"] for line in tries if "to" in line]
        if ends.count(STEPS) != 1 or ("from" in tries[-1]):
            wrong.append(f"{name} ended {ends.count(STEPS)} times")
        if list(run.glob(".lease*")):
            wrong.append(f"{name} has a lease that nobody needs")
    return wrong


def survived(bench: Bench, fault: Fault, undisturbed: dict[str, Any]) -> str:
    """Inject a fault. Returns what is wrong, "" for nothing."""
    grid = bench.out / fault.name.replace(":", "").replace(" ", "-").replace("'", "")
    for path in bench.out.glob(f"{grid.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if fault.before:
        dead_lease(grid)
    first = bench.start(grid, fault)
    with beside(bench, fault, grid, first):
        code = first.wait()
    if fault.act == "second":
        code = 0
    wrong = [] if code == fault.code else [f"it ended with {code}"]
    happened = fault.what in ("-", "clocks") or Path(f"{grid}.mark").exists()
    if not happened:
        wrong.append("the fault did not happen")
    before = found(grid)
    if fault.again:
        code = bench.start(grid, replace(fault, what="-")).wait()
        wrong += [] if code == 0 else [f"the same command ended with {code}"]
    made = found(grid)
    lost = [name for name in before if made.get(name) != before[name]]
    differ = [name for name in made if made[name] != undisturbed[name]]
    missing = len(RUNS) - len(made)
    wrong += [f"{names} {what}" for names, what in ((lost, "was lost"), (differ, "has other weights or scores")) if names]
    expected = 1 if fault.what == "diverges" else 0
    wrong += [] if missing == expected else [f"{missing} runs are not finished, and {expected} are expected"]
    return "; ".join(wrong + wrong_logs(grid, made))


def main() -> None:
    """Inject the faults, and say what became of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; by default all")
    parser.add_argument("--out", type=Path, help="by default a temporary folder")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    chosen = [fault for fault in FAULTS if not given.names or any(name in fault.name for name in given.names)]
    if given.list:
        print("\n".join(fault.name for fault in chosen))
        return
    out = given.out or Path(tempfile.mkdtemp(prefix="faults-"))
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(out)
    rows: list[dict[str, Any]] = []
    finish: Callable[[], None] = bench.close
    try:
        plain = Fault("undisturbed", "local", "-")
        grid = out / "undisturbed"
        if bench.start(grid, plain).wait():
            raise SystemExit(f"the undisturbed grid failed; see {grid}.log")
        undisturbed = found(grid)
        for fault in chosen:
            began = time.monotonic()
            wrong = survived(bench, fault, undisturbed)
            rows.append({"fault": fault.name, "wrong": wrong, "seconds": round(time.monotonic() - began, 1)})
            print(f"| {fault.name} | {wrong or 'identical'} | {rows[-1]['seconds']:.0f} s |", flush=True)
    finally:
        finish()
    done = sum(not row["wrong"] for row in rows)
    print(f"\n{done} of {len(rows)} survived with identical results")
    (HERE / "results").mkdir(exist_ok=True)
    write(HERE / "results" / "faults.json", json.dumps(rows, indent=1))
    sys.exit(done < len(rows))


if __name__ == "__main__":
    main()

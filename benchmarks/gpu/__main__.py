"""All that a GPU is needed for, in order: `python benchmarks/gpu --device cuda`, or `make gpu`.

    correct       all projections and all deliveries against the reference on the CPU, bit for bit
    speed         l0_inf, l0 and l0_channel beside topk, relu and a copy, the goals, and block sizes
    steps         a step of DCGAN, SNGAN, BigGAN and an iteration of Deep Image Prior, plugin on and off
    trainers      steps a second of the reference trainers: eager, compiled, float32, bfloat16; the hours of the paper's scale
    pairs         the first runs of table 1's DCGAN at full width, paired by seed
    restoration   table 4's first images at 512 pixels

Each is a process of its own that is given ten minutes; what it came to is written when it is had, row by row, to OUT/STEP.json, and
OUT/summary.md is made anew. Runs of the tables leave their lines in OUT/runs.jsonl, for `sparse-plugin results`. The same command
again goes on: it repeats what failed, and what is resumable is resumed. --quick is for trying all of it out on any machine in a
minute or two: its numbers say nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STEPS = {
    "correct": "kernels",
    "speed": "kernels",
    "steps": "training",
    "trainers": "training",
    "pairs": "tables",
    "restoration": "tables",
}
LIMIT = 600


def alone(step: str, options: argparse.Namespace) -> None:
    """One step, in this process. What it returns is its result: "lines" of Markdown, "done" and whatever else."""
    import torch

    from sparse_plugin.runs import environment

    begin = time.time()
    made_with = environment.describe(torch.device(options.device))
    so_far: dict[str, Any] = {"lines": []}

    def note(found: dict[str, Any]) -> None:
        so_far.update({"done": False, **found})
        about = {"seconds": round(time.time() - begin, 1), "made_with": made_with, "quick": options.quick}
        _write(options.out, step, {**so_far, **about})

    note({})
    try:
        note(getattr(import_module(STEPS[step]), step)(options, note))
    except Exception:
        told = ["", "failed:", "", "```", traceback.format_exc().strip(), "```"]
        note({"done": False, "lines": [*so_far["lines"], *told]})


def _write(out: Path, step: str, found: dict[str, Any]) -> None:
    from sparse_plugin.support.files import write

    write(out / f"{step}.json", json.dumps(found, indent=1) + "\n")


def _read(out: Path, step: str) -> dict[str, Any] | None:
    path = out / f"{step}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def summary(out: Path) -> str:
    """What every step came to so far."""
    parts = ["# On this device"]
    for step in STEPS:
        found = _read(out, step)
        if found is None:
            parts += [f"## {step}", "not run yet"]
            continue
        with_ = found["made_with"]
        about = f"{with_.get('device', '?')}, torch {with_.get('torch', '?')}, {found['seconds']} s"
        state = "" if found["done"] else ", **not finished**"
        quick = ", a quick try: no number here says anything" if found["quick"] else ""
        parts += [f"## {step}", f"{about}{state}{quick}", "\n".join(found["lines"])]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Every step that is not done; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", help="CIFAR-10, as for `sparse-plugin train`; without it images are made up")
    parser.add_argument("--test-data", help="its test images")
    parser.add_argument(
        "--images", help="a folder of photographs of 512 pixels or more; without it, those that are built in"
    )
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gpu, or gpu-quick")
    parser.add_argument("--only", choices=STEPS, action="append", help="repeatable; also what is done already")
    parser.add_argument("--alone", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = options.out or HERE.parent / "results" / ("gpu-quick" if options.quick else "gpu")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.alone:
        sys.path[:0] = [str(HERE), str(HERE.parent)]
        alone(options.alone, options)
        return 0
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"{options.device} was asked for, and torch {torch.__version__} sees no GPU here; try all of it out with "
              "DEVICE=cpu QUICK=1", file=sys.stderr)  # fmt: skip
        return 2
    for step in options.only or STEPS:
        there = _read(options.out, step)
        if there is not None and there["done"] and there["quick"] == options.quick and not options.only:
            continue
        print(f"{step} ...", file=sys.stderr, flush=True)
        try:
            code = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--alone", step], timeout=LIMIT).returncode
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:  # its time was over, or it died, of a kernel or the memory
            why = "took longer than its ten minutes" if code is None else f"its process ended with {code}"
            before = _read(options.out, step) or {"lines": [], "seconds": 0, "made_with": {}, "quick": options.quick}
            _write(options.out, step, {**before, "done": False, "lines": [*before["lines"], "", why]})
        (options.out / "summary.md").write_text(summary(options.out), encoding="utf-8")
    print(summary(options.out))
    return int(not all((found := _read(options.out, step)) and found["done"] for step in options.only or STEPS))


if __name__ == "__main__":
    sys.exit(main())

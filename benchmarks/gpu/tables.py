"""The first runs of the paper's tables on a device: what ten minutes come to, to be gone on with by the same command."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from kernels import Note, unsaid

# Of the ten minutes.
LIMIT = 560


def _sparse_plugin(arguments: list[str], limit: int = LIMIT) -> tuple[bool, str]:
    """Whether a command came to its end, and what it said."""
    command = [sys.executable, "-m", "sparse_plugin", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return False, "its time was over; the same command goes on"
    return done.returncode == 0, done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr[-2000:]}"


def _made_up(folder: Path) -> str:
    """Images where none are given: what is measured on them says nothing."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    source = np.random.RandomState(0)
    np.savez(folder / "made-up.npz", images=source.randint(0, 256, (64, 32, 32, 3), dtype=np.uint8))
    return str(folder / "made-up.npz")


def _picture(folder: Path) -> str:
    """A small picture."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    Image.fromarray(np.stack([ramp, ramp[::-1], 2 * ramp], -1)).save(folder / "made-up.png")
    return str(folder / "made-up.png")


def _built_in(folder: Path) -> str:
    """The one photograph of 512 pixels that scikit-image's package holds."""
    from sparse_plugin.data.photographs import original

    folder.mkdir(parents=True, exist_ok=True)
    original("astronaut").save(folder / "astronaut.png")
    return str(folder / "astronaut.png")


def record(options: argparse.Namespace) -> Path:
    """Where finished runs of both tables leave their lines, so that what was had before the time was over is had."""
    return Path(options.out, "runs.jsonl")


def _result(options: argparse.Namespace, arguments: list[str], kind: str, head: list[str]) -> dict[str, Any]:
    """Run a table's command, and count the lines of its kind that the record then has."""
    from sparse_plugin.experiments import records

    arguments = [*arguments, "--record", str(record(options))]
    done, said = _sparse_plugin(arguments)
    there = record(options)
    count = len({"runs": records.read, "restorations": records.restorations}[kind](there)) if there.is_file() else 0
    command = f"{count} {kind} finished: `{shlex.join(['sparse-plugin', *arguments])}`"
    return {"done": done, "lines": [*head, command, "", said]}


def pairs(options: argparse.Namespace, note: Note = unsaid) -> dict[str, Any]:
    """Table 1's DCGAN, vanilla and every regularizer, seed by seed."""
    out = options.out / "pairs"
    arguments = ["experiment", "table1", "--archs", "dcgan", "--device", options.device, "--out", str(out)]
    arguments += ["--data", options.data or _made_up(options.out / "data")]
    arguments += ["--test-data", options.test_data] if options.test_data else []
    if options.quick or not options.data:
        small = "--width 0.0625 --batch 4 --steps 2 --samples 24 --metric KID-lite0 --kid-subset 12 --seeds 1 --measure-at 1"
        arguments += [*small.split(), "--methods", "vanilla,l0_inf"]
    else:
        arguments += ["--width", "1", "--steps", "10000", "--precision", "auto", "--seeds", "8", "--first-seed", "100"]
        arguments += ["--measure-at", "2000,4000,6000,8000"]
    made_up = "No --data was given: the images are made up, and nothing can be learned from them."
    return _result(options, arguments, "runs", [] if options.data else [made_up, ""])


def restoration(options: argparse.Namespace, note: Note = unsaid) -> dict[str, Any]:
    """Table 4's images at 512 pixels, vanilla, L0,∞ and L0."""
    arguments = ["experiment", "table4", "--device", options.device, "--out", str(options.out / "table4")]
    if options.quick:
        arguments += ["--images", _picture(options.out / "data")]
        arguments += ["--crop", "64", "--iterations", "3", "--width", "0.125", "--methods", "vanilla,l0_inf:k=0.1"]
    else:
        arguments += ["--images", options.images or _built_in(options.out / "data")]
        arguments += ["--crop", "512", "--iterations", "3000", "--runs", "3"]
    alone = "No --images was given: it is the one built-in photograph of 512 pixels."
    return _result(options, arguments, "restorations", [] if options.images or options.quick else [alone, ""])

"""Time and memory of the projections beside the usual ways to write them: `python benchmarks/projections.py`.

Writes a Markdown and a JSON file (--out, default: benchmarks/results/projections.{md,json}) with the machine's
description, and prints the Markdown. Every figure is the median of --rounds interleaved runs: in each round every
candidate runs once, so that what else the machine does falls on all of them alike; the quartiles are in the JSON.

The allocator decides what a copy costs: a tensor above 32 MiB is otherwise mapped, faulted in and unmapped by every
call, a sixfold difference that has nothing to do with the kernel. Here glibc is told to keep its memory (mallopt: no
mmap, no trim) and every candidate runs twice before the clock starts; --cold leaves the allocator as it is.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.projections import kernel_status, project_channels, project_global, project_needles

SHAPES = ((64, 128, 16, 16), (64, 256, 32, 32), (1, 128, 256, 256))
# What each ratio must reach: the bound, and of which kind; None where it is only told.
TARGETS: dict[str, tuple[float, str] | None] = {
    "l0_inf against topk": (8.0, "at least"),
    "l0 against topk": (5.0, "at least"),
    "l0_inf against relu": (4.0, "at most"),
    "l0_inf flat in k": (1.5, "at most"),
    "l0 flat in k": (1.5, "at most"),
    "l0_channel against topk": None,
    "l0_channel against relu": None,
    "l0_channel flat in k": None,
}


def topk_needles(gamma: Tensor, k: int) -> Tensor:
    """The usual L0,inf: topk and a scatter, under autograd (ties as topk likes)."""
    index = gamma.abs().topk(k, dim=1).indices
    return torch.zeros_like(gamma).scatter(1, index, gamma.gather(1, index))


def topk_global(gamma: Tensor, k: int) -> Tensor:
    """The usual L0: topk for the threshold and a comparison, under autograd (more than k where there are ties)."""
    flat = gamma.abs().flatten(1)
    threshold = flat.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    return gamma * (flat >= threshold).view_as(gamma)


def topk_channels(gamma: Tensor, k: int) -> Tensor:
    """The usual top-k over positions: topk of the flattened maps and a scatter, under autograd (ties as topk likes)."""
    maps = gamma.flatten(2)
    index = maps.abs().topk(k, dim=2).indices
    return torch.zeros_like(maps).scatter(2, index, maps.gather(2, index)).view_as(gamma)


# Nanoseconds an entry above which a warm clone was waiting for a core, and so was everything beside it.
UNDISTURBED = 1.0


def interleave(
    candidates: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Milliseconds of each candidate: the median and the quartiles over `rounds` rounds."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 2):
        for name, run in candidates.items():
            synchronize()
            started = clock()
            run()
            synchronize()
            if turn >= 2:
                times[name].append(1e3 * (clock() - started))
    result = {}
    for name, taken in times.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        result[name] = {"median": middle, "low": low, "high": high}
    return result


def forward_backward(function: Callable[[Tensor], Tensor], gamma: Tensor, grad: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(function(gamma), gamma, grad)


def measure(shape: tuple[int, ...], rounds: int, device: str, clock: Callable[[], float]) -> dict[str, Any]:
    gamma = torch.randn(shape, device=device, requires_grad=True)
    plain, grad = gamma.detach(), torch.randn(shape, device=device)
    channels, size, positions = shape[1], gamma[0].numel(), gamma[0, 0].numel()
    ks = {"1": 1, "C/4": channels // 4, "C/2": channels // 2, "C-1": channels - 1}
    global_ks = {"1": 1, "C/4": size // 4, "C/2": size // 2, "C-1": size - 1}
    channel_ks = {"1": 1, "C/4": positions // 4, "C/2": positions // 2, "C-1": positions - 1}
    both: dict[str, Callable[[], object]] = {
        "clone": lambda: plain.clone(),
        "relu": forward_backward(torch.relu, gamma, grad),
        "l0_inf": forward_backward(lambda g: project_needles(g, ks["C/4"]), gamma, grad),
        "l0_inf topk": forward_backward(lambda g: topk_needles(g, ks["C/4"]), gamma, grad),
        "l0": forward_backward(lambda g: project_global(g, global_ks["C/4"]), gamma, grad),
        "l0 topk": forward_backward(lambda g: topk_global(g, global_ks["C/4"]), gamma, grad),
        "l0_channel": forward_backward(lambda g: project_channels(g, channel_ks["C/4"]), gamma, grad),
        "l0_channel topk": forward_backward(lambda g: topk_channels(g, channel_ks["C/4"]), gamma, grad),
    }
    for label, k in ks.items():
        both[f"l0_inf forward, k = {label}"] = lambda k=k: project_needles(plain, k)
    for label, k in global_ks.items():
        both[f"l0 forward, k = {label}"] = lambda k=k: project_global(plain, k)
    for label, k in channel_ks.items():
        both[f"l0_channel forward, k = {label}"] = lambda k=k: project_channels(plain, k)
    times = interleave(both, rounds, clock)
    ms = {name: entry["median"] for name, entry in times.items()}

    def flatness(name: str) -> float:
        forwards = [value for key, value in ms.items() if key.startswith(f"{name} forward")]
        return max(forwards) / min(forwards)

    ratios = {
        "l0_inf against topk": ms["l0_inf topk"] / ms["l0_inf"],
        "l0 against topk": ms["l0 topk"] / ms["l0"],
        "l0_inf against relu": ms["l0_inf"] / ms["relu"],
        "l0_inf flat in k": flatness("l0_inf"),
        "l0 flat in k": flatness("l0"),
        "l0_channel against topk": ms["l0_channel topk"] / ms["l0_channel"],
        "l0_channel against relu": ms["l0_channel"] / ms["relu"],
        "l0_channel flat in k": flatness("l0_channel"),
    }
    clone = 1e6 * ms["clone"] / gamma.numel()
    return {"shape": list(shape), "milliseconds": times, "ratios": ratios, "clone ns per entry": clone}


MEMORY = """
import ctypes, gc, sys, torch
from sparse_plugin.projections import project_channels, project_global, project_needles
ctypes.CDLL(None).mallopt(-3, 4096)  # M_MMAP_THRESHOLD: every tensor is its own mapping, returned when it is freed
project = {"l0_inf": project_needles, "l0": project_global, "l0_channel": project_channels}[sys.argv[1]]
shape = tuple(map(int, sys.argv[2].split(",")))

def read(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) * 1024

for warm in (torch.randn(1, 8, 8, 8), torch.randn(2, *shape[1:])[:, :, :16, :16].contiguous()):
    warm.requires_grad_()
    torch.autograd.grad(project(warm, 0.25), warm, torch.ones_like(warm))  # its first call imports 36 MB of torch
gamma = torch.randn(shape, requires_grad=True)
grad = torch.randn(shape)
size = gamma.numel() * 4
del warm
gc.collect()

def peak_of(run):
    before = read("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts again from here
    result = run()
    return result, (read("VmHWM") - before) / size, (read("VmRSS") - before) / size

out, forward_peak, held = peak_of(lambda: project(gamma, 0.25))
_, backward_peak, _ = peak_of(lambda: torch.autograd.grad(out, gamma, grad))
print(forward_peak, held, backward_peak)
"""


def memory(name: str, shape: tuple[int, ...]) -> dict[str, float] | str:
    """Peak in forward, held after it, and peak in backward, in multiples of Γ, in a process of its own; or why not."""
    command = [sys.executable, "-c", MEMORY, name, ",".join(map(str, shape))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return dict(zip(("forward peak", "held", "backward peak"), map(float, done.stdout.split()), strict=True))


def machine(device: str) -> dict[str, Any]:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load at start": load,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kernels": [{key: row[key] for key in ("path", "device", "state")} for row in kernel_status()],
    }


def keep_memory() -> str:
    """Have glibc neither map large blocks one by one nor give any back; says what was done."""
    try:
        libc = ctypes.CDLL(None)
        if libc.mallopt(-4, 0) and libc.mallopt(-1, 2**31 - 1):
            return "warm: mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2^31 - 1), two runs of everything first"
    except (OSError, AttributeError):
        pass
    return "the system's own, with two runs of everything first"


def markdown(report: dict[str, Any]) -> str:
    about = report["machine"]
    lines = [
        "# Projections: time and memory",
        "",
        f"`{report['command']}`",
        "",
        f"{about['cpu']}, {about['threads']} of {about['cores']} cores, torch {about['torch']}; load at start "
        f"{about['load at start']}; allocator {report['allocator']}; medians of {report['rounds']} interleaved rounds, "
        f"{report['clock']} time; "
        "fp32, k = C/4 (a quarter of the sample for l0, of the positions for l0_channel).",
        "",
        "Milliseconds, forward + backward:",
        "",
        "| shape | clone (forward) | relu | l0_inf | topk + scatter | l0 | topk + comparison | l0_channel | topk + scatter |",
        f"|{' --- |' * 9}",
    ]
    columns = ("clone", "relu", "l0_inf", "l0_inf topk", "l0", "l0 topk", "l0_channel", "l0_channel topk")
    for row in report["shapes"]:
        ms = row["milliseconds"]
        cells = [f"{ms[name]['median']:.2f}" for name in columns]
        lines.append(f"| {tuple(row['shape'])} | {' | '.join(cells)} |")
    shapes = [str(tuple(row["shape"])) for row in report["shapes"]]
    lines += ["", f"| ratio | target | {' | '.join(shapes)} |", f"| --- | --- |{' --- |' * len(shapes)}"]
    for name, target in TARGETS.items():
        bound, direction = target or (0.0, "at least")
        cells = []
        for row in report["shapes"]:
            value = row["ratios"][name]
            met = value >= bound if direction == "at least" else value <= bound
            cells.append(f"{value:.2f}{'' if met else ' (missed)'}")
        lines.append(f"| {name} | {f'{direction} {bound:g}' if target else ''} | {' | '.join(cells)} |")
    waited = [row for row in report["shapes"] if row["clone ns per entry"] > UNDISTURBED]
    for row in waited if report["allocator"].startswith("warm") and not about["gpu"] else []:
        lines += [
            "",
            f"**Not to be quoted: {tuple(row['shape'])}.** Its clone took {row['clone ns per entry']:.1f} ns an entry, "
            f"over {UNDISTURBED:g}: the process was waiting for a core.",
        ]
    lines += ["", "Memory in multiples of Γ (each in a process of its own, every tensor a mapping of its own):", ""]
    lines += ["| projection, shape | peak in forward | held after | peak in backward |", "| --- | --- | --- | --- |"]
    for entry in report["memory"]:
        found = entry["found"]
        cells = (
            f"not measured: {found} | | |"
            if isinstance(found, str)
            else " | ".join(f"{found[key]:.2f}" for key in ("forward peak", "held", "backward peak")) + " |"
        )
        lines.append(f"| {entry['projection']} {tuple(entry['shape'])} | {cells}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="interleaved runs of everything (default 11)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the process's CPU time, which other jobs do not lengthen; of use with --threads 1 only",
    )
    parser.add_argument("--cold", action="store_true", help="leave the allocator as it is")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "projections")
    options = parser.parse_args()
    if options.rounds < 7:
        parser.error("a median of fewer than 7 rounds is not quoted; give --rounds 7 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.clock == "cpu" and (torch.get_num_threads() > 1 or options.device != "cpu"):
        parser.error("--clock cpu adds up the threads and does not see a GPU; use it with --threads 1 --device cpu")
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    report: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/projections.py", *sys.argv[1:]]),
        "machine": machine(options.device),
        "allocator": "the system's own (--cold)" if options.cold else keep_memory(),
        "rounds": options.rounds,
        "clock": options.clock,
        "shapes": [measure(shape, options.rounds, options.device, clock) for shape in SHAPES],
        "memory": [],
    }
    if options.device == "cpu":
        report["memory"] = [
            {"projection": name, "shape": shape, "found": memory(name, shape)}
            for name in ("l0_inf", "l0", "l0_channel")
            for shape in SHAPES
        ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    options.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

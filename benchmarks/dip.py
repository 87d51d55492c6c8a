"""An iteration of Deep Image Prior, as its official code runs it and as this package does: `python benchmarks/dip.py`.

Writes Markdown and JSON to --out. One process each, so that each has its own allocator; they take turns, and a ratio is
that of two iterations that followed each other, its median given with its quartiles. Both denoise the same photograph
from the same weights: five scales of 128 channels, 4 across, reflection, bilinear (the official denoising experiment),
noise on the input, the images averaged. The official style has a padding before every convolution, 1x1 too, biases before
batch normalisations, concatenations, Adam as torch.optim has it by default, and the system's allocator.

Where other jobs run, wall time measures them; --threads 1 and the ratio of processor time then stand.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from projections import machine
from skimage.data import astronaut
from torch import Tensor, nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.restore.network import SkipNetwork
from sparse_plugin.support.allocator import keep_pages

KINDS = ("official", "ours")
DENSITY = 0.25
SIGMA = 25 / 255
RATE, JITTER, FORGETTING = 0.01, 1 / 30, 0.01


class Padded(nn.Conv2d):
    """A convolution with a bias, behind a reflection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride)
        self.reflection = nn.ReflectionPad2d(kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.reflection(x))


def layers(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [Padded(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True)]


class OfficialDecoder(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.skip = nn.Sequential(*layers(inputs, 4, 1))
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        self.norm = nn.BatchNorm2d(132)
        self.merge, *activation = layers(132, 128, 3)
        self.rest = nn.Sequential(*activation, *layers(128, 128, 1))

    def forward(self, x: Tensor, below: Tensor) -> Tensor:
        parts = [self.skip(x), self.upsample(below)]
        height, width = (min(part.shape[side] for part in parts) for side in (2, 3))
        cropped = []
        for part in parts:
            top, left = (part.shape[2] - height) // 2, (part.shape[3] - width) // 2
            cropped.append(part[:, :, top : top + height, left : left + width])
        return self.rest(self.merge(self.norm(torch.cat(cropped, 1))))


class Official(nn.Module):
    """The same function, layer by layer; its names are SkipNetwork's, so that the weights can be the same."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (32, 128, 128, 128, 128)
        self.encoders = nn.ModuleList(nn.Sequential(*layers(i, 128, 3, 2), *layers(128, 128, 3)) for i in inputs)
        self.decoders = nn.ModuleList(OfficialDecoder(i) for i in inputs)
        self.image = nn.Sequential(Padded(128, 3, 1), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        scales = [z]
        for encoder in self.encoders:
            scales.append(encoder(scales[-1]))
        x = scales.pop()
        for decoder in reversed(self.decoders):
            x = decoder(scales.pop(), x)
        return self.image(x)


def prior(kind: str, size: int, density: float | None) -> tuple[Callable[[], None], Callable[[], float]]:
    """One iteration, and the PSNR in dB of the averaged image, of one kind."""
    torch.manual_seed(0)
    network: nn.Module = SkipNetwork()
    if kind == "official":
        weights, network = network.state_dict(), Official()
        unknown = network.load_state_dict(weights, strict=False).unexpected_keys
        assert not unknown, unknown
    torch.manual_seed(1)
    z = torch.rand(1, 32, size, size) * 0.1
    clean = photograph(size)
    noisy = (clean + SIGMA * torch.randn_like(clean)).clamp(0, 1)
    if density is not None:
        sites = [f"encoders.{k}:output" for k in range(5)]
        sparse_plugin.attach(network, "l0_inf", k=density, sites=sites, example_input=z)
    optimizer = torch.optim.Adam(network.parameters(), RATE, **({"fused": True} if kind == "ours" else {}))
    noise, average = torch.empty_like(z), torch.zeros_like(clean)
    started = False

    def step() -> None:
        nonlocal average, started
        optimizer.zero_grad()
        image = network(z + noise.normal_() * JITTER)
        F.mse_loss(image, noisy).backward()
        optimizer.step()
        average = average * (1 - FORGETTING) + image.detach() * FORGETTING if started else image.detach()
        started = True

    return step, lambda: -10 * torch.log10(F.mse_loss(average, clean)).item()


def photograph(size: int) -> Tensor:
    """A photograph, (1, 3, size, size) in [0, 1]."""
    image = torch.as_tensor(astronaut()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True).clamp(0, 1)


def work(kind: str, size: int, density: float | None) -> None:
    """One process: an iteration for every line read, answered with its seconds of wall and processor time."""
    if kind == "ours":
        keep_pages()
    step, psnr = prior(kind, size, density)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        step()
        answer = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor, "psnr": psnr()}
        print(json.dumps(answer), flush=True)


def compare(size: int, density: float | None, rounds: int, threads: int) -> dict[str, Any]:
    """The figures of one row."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    told = [sys.executable, __file__, "--size", str(size), *([] if density is None else ["--density", str(density)])]
    processes = {
        kind: subprocess.Popen(
            [*told, "--work", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for kind in KINDS
    }
    taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    try:
        for turn in range(rounds + 2):
            for kind in KINDS if turn % 2 else reversed(KINDS):
                stdin, stdout = processes[kind].stdin, processes[kind].stdout
                assert stdin is not None and stdout is not None
                stdin.write("step\n")
                stdin.flush()
                taken[kind].append(json.loads(stdout.readline()))
    finally:
        for process in processes.values():
            process.communicate()
    row: dict[str, Any] = {"size": size, "density": density}
    for clock in ("wall", "processor"):
        times = {kind: [answer[clock] for answer in answers[2:]] for kind, answers in taken.items()}
        ratios = [ours / official for official, ours in zip(times["official"], times["ours"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        row[clock] = {kind: statistics.median(found) for kind, found in times.items()}
        row[clock]["ours / official"] = {"median": middle, "low": low, "high": high}
    return row | {"iterations": rounds + 2, "psnr": {kind: answers[-1]["psnr"] for kind, answers in taken.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="sides in pixels (default 128 256)")
    parser.add_argument(
        "--rounds", type=int, default=9, help="iterations of each (default 9), after two that do not count"
    )
    parser.add_argument("--threads", type=int, default=2, help="of each process (default 2)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dip")
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--density", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.size, options.density)
        return
    if options.rounds < 7:
        parser.error("a median of fewer than 7 iterations is not quoted; give --rounds 7 or more")
    about = machine("cpu") | {"threads": options.threads}
    command = " ".join(["python", "benchmarks/dip.py", *sys.argv[1:]])
    text = [
        "# Deep Image Prior: an iteration, ours against the official style",
        "",
        f"`{command}`",
        "",
        f"{about['cpu']}, {about['cores']} cores, {options.threads} threads, torch {about['torch']}, load at start "
        f"{about['load at start']}; medians of {options.rounds} iterations by turns, quartiles in brackets.",
        "",
        "| pixels | l0_inf on 5 scales | official, s | ours, s | ours / official, wall | ours / official, processor | "
        "PSNR official, ours |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = []
    for size in options.sizes:
        for density in (None, DENSITY):
            row = compare(size, density, options.rounds, options.threads)
            rows.append(row)
            wall, processor = (
                "{median:.2f} ({low:.2f}-{high:.2f})".format(**row[clock]["ours / official"])
                for clock in ("wall", "processor")
            )
            text.append(
                f"| {size} | {'no' if density is None else f'k={density}'} | {row['wall']['official']:.3f} | "
                f"{row['wall']['ours']:.3f} | {wall} | {processor} | "
                f"{row['psnr']['official']:.2f}, {row['psnr']['ours']:.2f} dB after {row['iterations']} |"
            )
            print(text[-1], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"command": command, "machine": about, "rounds": options.rounds, "rows": rows}
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    options.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()

"""What the plugin adds to a training step: `python benchmarks/steps.py`. Writes Markdown and JSON to --out.

A step is one update of D and one of G (a DCGAN and mimicry's SNGAN-32, batch 64), or one iteration of Deep Image
Prior on a 128 x 128 image. Steps with the plugin on and off alternate, and the median of on/off over the pairs is
given with its quartiles. Where these are further apart than the bound is from 1, the step's noise hides the answer;
then the last column stands: the time of the regularizer's own work in a step, measured by itself, divided by the time
of the step without it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from projections import keep_memory, machine
from torch import Tensor, nn
from torch.nn import functional as F

import sparse_plugin
from sparse_plugin.penalty import AddGradient, Counter
from sparse_plugin.projections import project_global, project_needles
from sparse_plugin.registry import create

BOUNDS = {"l0_inf": 1.01, "l0": 1.01, "l1": 1.005}
SETTINGS: dict[str, dict[str, float]] = {"l0_inf": {"k": 0.25}, "l0": {"k": 0.25}, "l1": {"weight": 1e-3}}


def dcgan() -> tuple[nn.Module, Callable[[], None], Tensor, tuple[int, ...], int]:
    """DCGAN for 32 x 32: G of 512, 256 and 128 channels with Γ = (64, 128, 16, 16), D its mirror with spectral norm."""

    def up(i: int, o: int, stride: int, padding: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(i, o, 4, stride, padding, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    def down(i: int, o: int) -> list[nn.Module]:
        return [nn.utils.parametrizations.spectral_norm(nn.Conv2d(i, o, 4, 2, 1)), nn.LeakyReLU(0.1)]

    generator = nn.Sequential(
        *up(128, 512, 1, 0), *up(512, 256, 2, 1), *up(256, 128, 2, 1), nn.ConvTranspose2d(128, 3, 4, 2, 1), nn.Tanh()
    )
    discriminator = nn.Sequential(*down(3, 128), *down(128, 256), *down(256, 512), nn.Flatten(), nn.Linear(8192, 1))
    z = torch.randn(64, 128, 1, 1)
    return generator, gan_step(generator, discriminator, z), z, (64, 128, 16, 16), 2


def sngan() -> tuple[nn.Module, Callable[[], None], Tensor, tuple[int, ...], int]:
    """mimicry's SNGAN for 32 x 32, batch 64, with Γ = (64, 256, 32, 32)."""
    # Switched on for the import only, which needs it: the generator is to be built without the plugin.
    sparse_plugin.enable("mimicry", "l0_inf", k=0.25)
    from torch_mimicry.nets import sngan as nets

    sparse_plugin.disable()
    generator, discriminator = nets.SNGANGenerator32(), nets.SNGANDiscriminator32()
    z = torch.randn(64, generator.nz)
    return generator, gan_step(generator, discriminator, z), z, (64, 256, 32, 32), 2


def gan_step(generator: nn.Module, discriminator: nn.Module, z: Tensor) -> Callable[[], None]:
    of_g = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
    of_d = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999))
    real = torch.rand(len(z), 3, 32, 32) * 2 - 1

    def step() -> None:
        with torch.no_grad():
            fake = generator(z)
        of_d.zero_grad()
        loss = F.relu(1 - discriminator(real)).mean() + F.relu(1 + discriminator(fake)).mean()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        loss = -discriminator(generator(z)).mean()
        loss.backward()
        of_g.step()

    return step


def prior() -> tuple[nn.Module, Callable[[], None], Tensor, tuple[int, ...], int]:
    """One iteration of Deep Image Prior's shape of network on 128 x 128: five scales of 128 channels, Γ at the full size."""

    def block(i: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(i, 128, 3, stride, 1, padding_mode="reflect"), nn.BatchNorm2d(128), nn.LeakyReLU(0.2)]

    encoder = [layer for i in (32, 128, 128, 128, 128) for layer in (*block(i, 2), *block(128, 1))]
    decoder = [layer for _ in range(5) for layer in (nn.Upsample(scale_factor=2, mode="bilinear"), *block(128, 1))]
    network = nn.Sequential(*encoder, *decoder, nn.Conv2d(128, 3, 1), nn.Sigmoid())
    z, image = torch.rand(1, 32, 128, 128) * 0.1, torch.rand(1, 3, 128, 128)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.mse_loss(network(z), image)
        loss.backward()
        optimizer.step()

    return network, step, z, (1, 128, 128, 128), 1


def own_work(name: str, shape: tuple[int, ...], forwards: int) -> Callable[[], object]:
    """What the regularizer computes in one step: its forwards, all but the last without a gradient, and one backward.

    For l1 it is what an attachment puts into the backward pass.
    """
    gamma, grad = torch.randn(shape, requires_grad=True), torch.randn(shape)
    l1 = create("l1", SETTINGS["l1"])

    def run() -> object:
        if name == "l1":
            return torch.autograd.grad(AddGradient.apply(gamma, l1, 1.0, Counter()), gamma, grad)
        project = project_needles if name == "l0_inf" else project_global
        for _ in range(forwards - 1):
            project(gamma.detach(), 0.25)
        return torch.autograd.grad(project(gamma, 0.25), gamma, grad)

    return run


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(make: Callable[[], Any], name: str, pairs: int) -> dict[str, Any]:
    torch.manual_seed(0)
    generator, step, z, shape, forwards = make()
    alone = own_work(name, shape, forwards)

    def on() -> float:
        attachment = sparse_plugin.attach(generator, name, example_input=z, **SETTINGS[name])
        try:
            return timed(step)
        finally:
            attachment.detach()

    off_times, ratios, own = [], [], []
    for turn in range(pairs + 1):
        first_on = turn % 2 == 0
        a = on() if first_on else timed(step)
        b = timed(step) if first_on else on()
        with_it, without = (a, b) if first_on else (b, a)
        if turn:
            off_times.append(without)
            ratios.append(with_it / without)
            own.extend(timed(alone) for _ in range(3))
    low, middle, high = statistics.quantiles(ratios, n=4)
    off = statistics.median(off_times)
    return {
        "regularizer": name,
        "gamma": list(shape),
        "step seconds": off,
        "on / off": {"median": middle, "low": low, "high": high},
        "own milliseconds": 1e3 * statistics.median(own),
        "1 + own / step": 1 + statistics.median(own) / off,
        "bound": BOUNDS[name],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9, help="pairs of steps, on and off (default 9)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "steps")
    options = parser.parse_args()
    if options.pairs < 7:
        parser.error("a median of fewer than 7 pairs is not quoted; give --pairs 7 or more")
    report: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/steps.py", *sys.argv[1:]]),
        "machine": machine("cpu"),
        "allocator": keep_memory(),
        "pairs": options.pairs,
        "steps": [],
    }
    text = [
        "# Training steps, plugin on against off",
        "",
        f"`{report['command']}`",
        "",
        f"{report['machine']['cpu']}, {report['machine']['threads']} threads, load at start "
        f"{report['machine']['load at start']}; {options.pairs} pairs.",
        "",
        "| step | regularizer | Γ | off, s | on / off, median (quartiles) | own work, ms | 1 + own / step | bound |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for title, make in (("DCGAN", dcgan), ("SNGAN-32", sngan), ("DIP 128", prior)):
        for name in BOUNDS:
            row = compare(make, name, options.pairs)
            report["steps"].append({"step": title, **row})
            pair = row["on / off"]
            met = "" if row["1 + own / step"] <= row["bound"] else " (missed)"
            text.append(
                f"| {title} | {name} | {tuple(row['gamma'])} | {row['step seconds']:.3f} | {pair['median']:.3f} "
                f"({pair['low']:.3f}-{pair['high']:.3f}) | {row['own milliseconds']:.2f} | "
                f"{row['1 + own / step']:.4f}{met} | {row['bound']:g} |"
            )
            print(text[-1], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    options.out.with_suffix(".md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()

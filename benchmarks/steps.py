"""What the plugin adds to a training step: `python benchmarks/steps.py`. Writes Markdown and JSON to --out.

A step is one update of D and one of G (a DCGAN and mimicry's SNGAN-32, batch 64), or one iteration of Deep Image
Prior on a 128 x 128 image, with all five encoder scales regularized. Steps with the plugin on and off alternate, and
the median of on/off over the pairs is given with its quartiles. Where these are further apart than the bound is from 1,
the step's noise hides the answer; then the last column stands: the time of the regularizer's own work in a step,
measured by itself, divided by the time of the step without it.
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
from sparse_plugin.attachment.gamma_nodes import GammaNodes
from sparse_plugin.attachment.identities import AddGradient, Passage
from sparse_plugin.attachment.site_state import Counter
from sparse_plugin.projections import project_global, project_needles
from sparse_plugin.registry import create

BOUNDS = {"l0_inf": 1.01, "l0": 1.01, "l1": 1.005}
SETTINGS: dict[str, dict[str, float]] = {"l0_inf": {"k": 0.25}, "l0": {"k": 0.25}, "l1": {"weight": 1e-3}}


# The network, its step, an input, the shapes of its representations, its forwards in a step, and its sites if not D1.
Run = tuple[nn.Module, Callable[[], None], Tensor, list[tuple[int, ...]], int, list[str]]


def dcgan() -> Run:
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
    return generator, gan_step(generator, discriminator, z), z, [(64, 128, 16, 16)], 2, []


def sngan() -> Run:
    """mimicry's SNGAN for 32 x 32, batch 64, with Γ = (64, 256, 32, 32)."""
    # Switched on for the import only, which needs it: the generator is to be built without the plugin.
    sparse_plugin.enable("mimicry", "l0_inf", k=0.25)
    from torch_mimicry.nets import sngan as nets

    sparse_plugin.disable()
    generator, discriminator = nets.SNGANGenerator32(), nets.SNGANDiscriminator32()
    z = torch.randn(64, generator.nz)
    return generator, gan_step(generator, discriminator, z), z, [(64, 256, 32, 32)], 2, []


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


class Scale(nn.Module):
    """One scale of Deep Image Prior's skip network for denoising: 128 channels down and up, 4 across; Γ leaves `down`."""

    def __init__(self, channels: int, deeper: nn.Module) -> None:
        super().__init__()

        def unit(i: int, o: int, kernel: int, stride: int = 1) -> list[nn.Module]:
            conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, padding_mode="reflect" if kernel > 1 else "zeros")
            return [conv, nn.BatchNorm2d(o), nn.LeakyReLU(0.2, inplace=True)]

        self.skip = nn.Sequential(*unit(channels, 4, 1))
        self.down = nn.Sequential(*unit(channels, 128, 3, 2), *unit(128, 128, 3))
        self.deeper = deeper
        self.up = nn.Sequential(nn.BatchNorm2d(132), *unit(132, 128, 3), *unit(128, 128, 1))

    def forward(self, x: Tensor) -> Tensor:
        below = F.interpolate(self.deeper(self.down(x)), scale_factor=2, mode="bilinear")
        return self.up(torch.cat([self.skip(x), below], 1))


def prior() -> Run:
    """One iteration of Deep Image Prior at 128 x 128: five scales, each scale's encoder output a representation."""
    network: nn.Module = nn.Identity()
    for scale in reversed(range(5)):
        network = Scale(128 if scale else 32, network)
    network = nn.Sequential(network, nn.Conv2d(128, 3, 1), nn.Sigmoid())
    z, image = torch.rand(1, 32, 128, 128) * 0.1, torch.rand(1, 3, 128, 128)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.mse_loss(network(z), image)
        loss.backward()
        optimizer.step()

    sites = [f"0.{'deeper.' * scale}down.5:output" for scale in range(5)]
    return network, step, z, [(1, 128, 64 >> scale, 64 >> scale) for scale in range(5)], 1, sites


def own_work(name: str, shapes: list[tuple[int, ...]], forwards: int) -> Callable[[], object]:
    """What the regularizer computes in one step: its forwards, all but the last without a gradient, and one backward.

    For l1 it is what an attachment puts into the backward pass.
    """
    pairs = [(torch.randn(shape, requires_grad=True), torch.randn(shape)) for shape in shapes]
    l1 = create("l1", SETTINGS["l1"])

    project = {"l0_inf": project_needles, "l0": project_global}.get(name)

    def run() -> object:
        if project is None:
            passed = (AddGradient.apply(g, None, l1, 1.0, Counter(), Passage(), GammaNodes()) for g, _ in pairs)
            return [torch.autograd.grad(out, g, grad) for out, (g, grad) in zip(passed, pairs, strict=True)]
        for _ in range(forwards - 1):
            for g, _grad in pairs:
                project(g.detach(), 0.25)
        return [torch.autograd.grad(project(g, 0.25), g, grad) for g, grad in pairs]

    return run


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(make: Callable[[], Any], name: str, pairs: int) -> dict[str, Any]:
    torch.manual_seed(0)
    generator, step, z, shapes, forwards, sites = make()
    alone = own_work(name, shapes, forwards)

    def on() -> float:
        attachment = sparse_plugin.attach(generator, name, example_input=z, sites=sites, **SETTINGS[name])
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
        "gamma": [list(shape) for shape in shapes],
        "step seconds": off,
        "on / off": {"median": middle, "low": low, "high": high},
        "own milliseconds": 1e3 * statistics.median(own),
        "1 + own / step": 1 + statistics.median(own) / off,
        "bound": BOUNDS[name],
    }


STEPS = {"DCGAN": dcgan, "SNGAN-32": sngan, "DIP 128": prior}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(STEPS), help="one of the steps")
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
    for title, make in STEPS.items():
        if options.only not in (None, title):
            continue
        for name in BOUNDS:
            row = compare(make, name, options.pairs)
            report["steps"].append({"step": title, **row})
            pair = row["on / off"]
            gammas = " + ".join("x".join(map(str, shape)) for shape in row["gamma"])
            met = "" if row["1 + own / step"] <= row["bound"] else " (missed)"
            text.append(
                f"| {title} | {name} | {gammas} | {row['step seconds']:.3f} | {pair['median']:.3f} "
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

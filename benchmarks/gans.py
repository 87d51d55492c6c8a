"""What a step of a GAN's trainer and a measurement cost on this CPU: `python benchmarks/gans.py`.

Milliseconds of CPU time, which other jobs lengthen little: medians of steps with the networks in both memory formats, in
float32 and bfloat16, with Adam fused or not, compiled or not, in turn; and what 10,000 samples cost to measure, with the C
library's allocator as it is and keeping its pages, with the moments of 50,000 real features computed anew and kept.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from sparse_plugin.data import Images, load
from sparse_plugin.gans import recipe
from sparse_plugin.gans.trainer import Trainer
from sparse_plugin.metrics.features import extract
from sparse_plugin.metrics.frechet import between, frechet, moments
from sparse_plugin.metrics.lite0 import Lite0
from sparse_plugin.runs.config import DataConfig, RunConfig
from sparse_plugin.runs.parallel import processes
from sparse_plugin.runs.rundir import RunDirectory
from sparse_plugin.support.allocator import keep_pages

WAYS = ("channels last", "contiguous", "Adam not fused", "bfloat16", "compiled")


def trainer(arch: str, width: float, way: str) -> Trainer:
    chosen = recipe(arch)
    pixels = torch.randint(0, 256, (512, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(512) % 10, tuple("0123456789"), "made up")
    precision, classes = "bfloat16" if way == "bfloat16" else "float32", 10 if chosen.conditional else 0
    config = RunConfig(
        chosen.arch, 32, width, chosen.batch, 10_000, 1, precision, 0, classes, None, DataConfig(1.0)
    )
    with processes("cpu") as group:
        made = Trainer(chosen, images, config, None, RunDirectory(Path(tempfile.mkdtemp())), group)
    for player in made.networks.values():
        if way == "contiguous":
            player.module.to(memory_format=torch.contiguous_format)
        if way == "Adam not fused":
            for group in player.optimizer.param_groups:
                group["fused"] = False
        if way == "compiled":
            player.module.compile()
    return made


def steps(arch: str, width: float, rounds: int, ways: list[str]) -> None:
    trainers = {way: trainer(arch, width, way) for way in ways}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for step in range(rounds + 3):
        for way, made in trainers.items():
            begin = time.process_time()
            made.train_step(step)
            if step >= 3:
                taken[way].append(1e3 * (time.process_time() - begin))
    base = statistics.median(taken[ways[0]])
    loss = {way: float(next(iter(made.terms.values()))) for way, made in trainers.items()}
    for way in ways:
        middle = statistics.median(taken[way])
        print(
            f"{arch}, width {width:g}, {way}: {middle:.1f} ms a step, {middle / base:.2f}; loss {loss[way]:.6f}",
            flush=True,
        )


def features(keep: bool, count: int) -> None:
    if keep:
        keep_pages()
    extractor, images = Lite0().eval(), load(None).images[:count]
    extract(extractor, images[:64])
    begin = time.process_time()
    extract(extractor, images)
    print(f"{1e3 * (time.process_time() - begin) / len(images):.2f}")


def measuring(count: int) -> None:
    for keep in (False, True):
        command = [sys.executable, __file__, "--features", str(int(keep)), "--images", str(count)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(f"features, {'pages kept' if keep else 'allocator as it is'}: {found} ms an image", flush=True)
    generated, real = torch.randn(10_000, 1280).abs(), torch.randn(50_000, 1280).abs()
    begin = time.process_time()
    whole = frechet(generated, real)
    middle = time.process_time()
    kept = moments(real)
    again = time.process_time()
    assert between(moments(generated), kept) == whole
    print(f"Fréchet distance: {middle - begin:.1f} s, with kept moments {time.process_time() - again:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="dcgan")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--way", action="append", choices=WAYS, help="repeatable; by default all")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--features", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.features is not None:
        features(bool(options.features), options.images)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}")
    steps(options.arch, options.width, options.rounds, options.way or list(WAYS))
    measuring(options.images)


if __name__ == "__main__":
    main()

"""The demo's page: one HTML file with everything in it."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import jinja2
import torch

from sparse_plugin.demo import pictures
from sparse_plugin.demo.result import TrainedResult, crops, load_result
from sparse_plugin.demo.training import Training
from sparse_plugin.support.version import __version__

# Samples of each generator: what is measured, and what is shown of it.
MEASURED, SHOWN = 256, 40

OWN_SCRIPT = """sparse-plugin run --sparse l0_inf --set sparse.k=16 -- python train.py
sparse-plugin run --sparse l0_inf --set sparse.k=16 --generator "__main__:Generator" -- python train.py"""


def make(vanilla: Training, sparse: Training, steps: int, width: int, folder: Path) -> tuple[str, bytes]:
    """The page and the picture that compare two finished runs."""
    noise = torch.randn(MEASURED, 128, generator=torch.Generator().manual_seed(0))
    results = (
        load_result(vanilla, steps, width, folder, noise),
        load_result(sparse, steps, width, folder, noise),
    )
    batch = json.loads((folder / vanilla.log_dir / "params.json").read_text(encoding="utf-8"))["batch_size"]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("sparse_plugin.demo").joinpath("page.html").read_text(encoding="utf-8"))
    html = template.render(
        steps=steps,
        width=width,
        k=sparse.k,
        batch=batch,
        seen=steps * batch,
        measured=MEASURED,
        light=pictures.LIGHT,
        dark=pictures.DARK,
        crops=_uri(pictures.png(pictures.mosaic(crops(16, seed=0), 16, 3, 6))),
        samples=[_uri(pictures.png(pictures.mosaic(r.images[:SHOWN], 8, 4, 8))) for r in results],
        atoms=[_uri(pictures.png(pictures.painted_atoms(r, 20, 8))) for r in results],
        curve=[_uri(pictures.curve(results, theme)) for theme in (pictures.LIGHT, pictures.DARK)],
        maps=[_uri(pictures.maps(results, theme)) for theme in (pictures.LIGHT, pictures.DARK)],
        levels=[f"{r.measured.sparsity:.1f} %" for r in results],
        numbers=_numbers(results, steps, width),
        commands=[vanilla.command, sparse.command],
        own_script=OWN_SCRIPT,
        versions=f"sparse_plugin {__version__}, torch_mimicry {version('torch_mimicry')}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
    )
    title = f"torch_mimicry's own Trainer, without and with at most {sparse.k} of {width} coefficients in every needle"
    note = (
        f"{steps} generator steps at batch {batch}, same seed, same noise, 32x32 crops of photographs. A demo of the mechanics: "
        "far from convergence, no claim about quality."
    )
    return html, pictures.overview(results, title, note)


def _numbers(results: Sequence[TrainedResult], steps: int, width: int) -> list[tuple[str, list[str]]]:
    """The rows of the table: what, and its value for each run."""
    return [
        ("Steps of the generator", [str(steps)] * len(results)),
        ("k, coefficients that a needle keeps", [_k(r.training.k, width) for r in results]),
        ("Sparsity level, non-zeros of Γ", [f"{r.measured.sparsity:.1f} %" for r in results]),
        ("The same before the projection", [f"{r.measured.sparsity_before:.1f} %" for r in results]),
        ("Non-zeros of the fullest needle", [f"{r.fullest} of {width}" for r in results]),
        ("Never-used atoms", [f"{r.measured.never_used} of {width}" for r in results]),
        ("Seconds per step, median", [f"{r.seconds_per_step:.2f}" for r in results]),
    ]


def _k(k: int | float, width: int) -> str:
    return f"all {width}" if k == 1.0 and isinstance(k, float) else f"{k} of {width}"


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")

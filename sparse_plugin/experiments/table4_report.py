"""What the runs of Table 4 came to, beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from sparse_plugin.experiments import files

# Mean and spread over runs, of the nine-image colour set, in dB.
PAPER = {
    "single": {"vanilla": (28.74, 0.03), "l0_inf": (29.03, 0.03), "l0": (29.22, 0.06)},
    "average": {"vanilla": (29.88, 0.02), "l0_inf": (29.94, 0.04), "l0": (30.21, 0.05)},
}
OUTPUTS = {"single": "best single output", "average": "best averaged output"}


@dataclass(frozen=True)
class DenoisingOutcome:
    """One image denoised once. psnr: by output, the best in dB and its iteration. density: of Γ_1..Γ_K at the end, 0 to 1.
    curves: by output, PSNR every tenth iteration. final: by output, PSNR of the last one; empty where it was not kept. chosen: of
    `k: auto`, what was chosen without the clean image (see `Choice`), with PSNR there by output; empty for others. Everything else
    is then of the k that was chosen.
    """

    image: str
    method: str
    seed: int
    noisy: float
    psnr: dict[str, tuple[float, int]]
    density: list[float]
    curves: dict[str, list[float]]
    protocol: dict[str, Any]
    final: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DenoisingOutcome:
        """Of plain values. Raises whatever comes of those in which tables and figures would not find what they look for."""
        made = cls(**{**values, "psnr": {output: (best, at) for output, (best, at) in values["psnr"].items()}})
        numbers = [made.seed, made.noisy, made.density[0], *made.density, *made.final.values()]
        numbers += [number for output in OUTPUTS for number in (*made.psnr[output], *made.curves[output])]
        numbers += [*(made.protocol[name] for name in ("iterations", "width")), *made.protocol["size"]]
        if made.chosen:
            numbers += [made.chosen["k"][0], *(made.chosen["psnr"][output] for output in OUTPUTS)]
            numbers += [made.chosen[name] for name in ("iteration", "value", "pixels", "iterations")]
        for number in numbers:
            math.isnan(number)
        if not isinstance(made.image, str) or not isinstance(made.method, str):
            raise ValueError("image and method are text")
        return made


def by_run(outcomes: Sequence[DenoisingOutcome], output: str) -> dict[str, list[float]]:
    """Method -> the mean over images of the best PSNR, one a run: of `common` restorations alone."""
    values: dict[str, dict[int, list[float]]] = {}
    for made in common(outcomes):
        values.setdefault(made.method, {}).setdefault(made.seed, []).append(made.psnr[output][0])
    return {method: [mean(of) for of in seeds.values()] for method, seeds in values.items()}


def common(outcomes: Sequence[DenoisingOutcome]) -> list[DenoisingOutcome]:
    """Those of images and runs that every method has: means over others would compare images, not methods."""
    names: dict[tuple[str, int], set[str]] = {}
    for made in outcomes:
        names.setdefault((made.image, made.seed), set()).add(made.method)
    every = set().union(*names.values())
    return [made for made in outcomes if names[made.image, made.seed] == every]


def markdown(outcomes: Sequence[DenoisingOutcome], command: str = "", failed: Iterable[str] = ()) -> str:
    """The table: mean over images, ± the deviation over runs, beside the paper's; then image by image."""
    names = list(dict.fromkeys(made.method for made in outcomes))
    images = list(dict.fromkeys(made.image for made in outcomes))
    parts = ["# Table 4: Deep Image Prior, denoising, σ = 25, PSNR in dB"]
    lines: list[list[str]] = []
    for output, what in OUTPUTS.items():
        here = by_run(outcomes, output)
        lines.append([what, "here", *(_spread(here[name]) if name in here else "" for name in names)])
        lines.append(["", "paper's", *(_papers(output, name.partition("-")[0]) for name in names)])
    parts.append(files.markdown(["", "", *names], lines))
    parts.append(
        "Image by image: best single / best averaged output, at which iteration; gain over vanilla, averaged output."
    )
    lines = []
    for image in images:
        of = {name: [made for made in outcomes if (made.image, made.method) == (image, name)] for name in names}
        noisy = mean(made.noisy for made in outcomes if made.image == image)
        base = of.get("vanilla")
        lines.append([image, f"{noisy:.2f}", *(_cell(of[name], base if name != "vanilla" else None) for name in names)])
    parts.append(files.markdown(["", "noisy", *names], lines))
    parts.append("Non-zeros of Γ_1 to Γ_K, %, at the end.")
    lines = []
    for name in names:
        levels = zip(*(made.density for made in outcomes if made.method == name), strict=True)
        lines.append([name, *(f"{100 * mean(level):.1f}" for level in levels)])
    scales = [f"Γ_{level}" for level in range(1, 1 + len(outcomes[0].density))]
    parts.append(files.markdown(["", *scales], lines))
    lines = [
        [
            *(made.method, made.image, str(made.seed), f"{made.chosen['k'][0]:g}", str(made.chosen["iteration"])),
            f"{made.chosen['psnr']['single']:.2f} / {made.chosen['psnr']['average']:.2f}",
            f"{made.chosen['value']:.4g} at {made.chosen['pixels']}",
            str(made.chosen["iterations"]),
        ]
        for made in outcomes
        if made.chosen
    ]
    if lines:
        parts.append(
            "Chosen without the clean image, k and the iteration, by the error at held-out pixels; PSNR of the single / averaged output "
            "there, after the iterations with all pixels that follow. Above, k = auto has the best iteration of the k that was chosen, "
            "as every method."
        )
        head = ["", "", "run", "k", "iteration", "PSNR there", "error at pixels", "iterations in all"]
        parts.append(files.markdown(head, lines))
    first = outcomes[0].protocol
    sizes = ", ".join(sorted({"x".join(map(str, made.protocol["size"])) for made in outcomes}))
    notes = [f"command: `{command}`"] if command else []
    notes.append(f"{first['iterations']} iterations, width {first['width']:g}, {len(images)} images of {sizes} pixels")
    notes.append(
        f"runs {', '.join(map(str, sorted({made.seed for made in outcomes})))}: network, input and noise from the run's number"
    )
    alone = [made for made in outcomes if made not in common(outcomes)]
    if alone:
        each = "; ".join(f"{made.image}, {made.method}, run {made.seed}" for made in alone)
        notes.append(f"not in the means over images, for want of the same image and run of every method: {each}")
    parts.append("\n".join(f"- {note}" for note in (*notes, *(f"failed: {text}" for text in failed))))
    return "\n\n".join(parts) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _papers(output: str, method: str) -> str:
    value = PAPER[output].get(method)
    return "" if value is None else f"{value[0]:.2f} ± {value[1]:.2f}"


def _cell(of: Sequence[DenoisingOutcome], base: Sequence[DenoisingOutcome] | None) -> str:
    if not of:
        return ""
    single, average = (mean(made.psnr[output][0] for made in of) for output in OUTPUTS)
    at = mean(made.psnr["average"][1] for made in of)
    gain = f", {average - mean(made.psnr['average'][0] for made in base):+.2f}" if base else ""
    return f"{single:.2f} / {average:.2f} at {at:.0f}{gain}"


def write(path: Path, outcomes: Sequence[DenoisingOutcome], text: str) -> list[Path]:
    """Write the table as path.md, path.csv and path.json. Returns the paths."""
    rows = [
        {"image": made.image, "method": made.method, "run": made.seed, "noisy": made.noisy}
        | {f"{output}{what}": made.psnr[output][i] for output in OUTPUTS for i, what in enumerate(("", "_iteration"))}
        for made in outcomes
    ]
    return files.write(path, text, rows, [asdict(made) for made in outcomes])

"""The projections on a device: equal to the reference, and how fast."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from projections import forward_backward, interleave, topk_channels, topk_global, topk_needles
from torch import Tensor, nn

import sparse_plugin
from sparse_plugin.experiments import files
from sparse_plugin.projections import eager, gpu, kernel_status, project_channels, project_global, project_needles

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# The last one has channel maps that are too large to be needles of the Triton kernel.
SHAPES = ((2, 128, 16, 16), (3, 37, 5, 7), (1, 512, 3, 3), (2, 8, 64, 1), (4, 1, 9, 9), (1, 3, 101, 99))
# The documented ones, and rows of RTop-K's lengths.
TIMED = ((64, 128, 16, 16), (64, 256, 32, 32), (1, 128, 256, 256), *((64, c, 32, 32) for c in (64, 512)))
# Of an H100-class card, forward and backward; the last one forward, of rows of C: what RTop-K reaches without its early
# stopping, which is inexact (7.29 times torch.topk, arXiv 2409.00822).
GOALS = {"l0_inf / relu": (1.5, "at most"), "l0 / relu": (3.0, "at most"), "topk / l0_inf": (7.29, "at least")}

# Each projection, what it equals, and how many entries compete.
Projection = Callable[[Tensor, int], Tensor]
PROJECTIONS: dict[str, tuple[Projection, Projection, Callable[[Tensor], int]]] = {
    "l0_inf": (lambda g, k: project_needles(g, k), eager.l0_inf, lambda g: g.shape[1]),
    "l0": (lambda g, k: project_global(g, k), eager.l0, lambda g: g[0].numel()),
    "l0_channel": (lambda g, k: project_channels(g, k), eager.l0_channel, lambda g: g[0, 0].numel()),
}
Note = Callable[[dict[str, Any]], None]


def unsaid(found: dict[str, Any]) -> None:
    """What is had so far, of which nobody wants to know."""


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Values that are hard in different ways."""
    source = torch.Generator().manual_seed(0)
    plain = torch.randn(shape, generator=source)
    yield "normal", plain.to(dtype)
    yield "behind relu", plain.relu().to(dtype)
    yield "ties", (plain * 4).round().div(4).to(dtype)
    yield "channels last", plain.to(dtype).contiguous(memory_format=torch.channels_last)
    strange = plain.clone()
    strange.view(-1)[:: max(1, strange.numel() // 7)] = float("nan")
    strange.view(-1)[1 :: max(2, strange.numel() // 5)] = float("-inf")
    yield "nan and inf", strange.to(dtype)


def _same(one: Tensor, other: Tensor) -> bool:
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return one.shape == other.shape and torch.equal(one.contiguous().view(bits), other.contiguous().view(bits))


def correct(options: argparse.Namespace, note: Note = unsaid) -> dict[str, Any]:
    """All projections, forward and backward, against the reference on the CPU; all deliveries of a penalty."""
    wrong: list[str] = []
    count = 0
    for dtype in DTYPES[: 2 if options.quick else None]:
        for shape in SHAPES[1:2] if options.quick else SHAPES:
            for what, gamma in inputs(shape, dtype):
                for name, (_, _, counted) in PROJECTIONS.items():
                    size = counted(gamma)
                    for k in {1, max(1, size // 4), size}:
                        count += 1
                        fault = _fault(name, gamma, k, options.device)
                        wrong += [f"{name}, {dtype}, {shape}, k = {k}, {what}: {fault}"] if fault else []
        note({"lines": [f"{count} cases so far, {len(wrong)} wrong"], "wrong": wrong, "cases": count})
    wrong += _deliveries(options.device)
    paths = [f"{row['path']} on {row['device']}: {row['state']}" for row in kernel_status()]
    lines = [
        f"{count} cases against the reference, {len(wrong)} wrong",
        *(f"- {text}" for text in (*wrong[:40], *paths)),
    ]
    return {"done": not wrong, "lines": lines, "wrong": wrong, "cases": count}


def _fault(name: str, gamma: Tensor, k: int, device: str) -> str:
    """What a projection on the device has otherwise than the reference on the CPU, or ""."""
    project, expected, counted = PROJECTIONS[name]
    there = gamma.to(device, copy=True).requires_grad_()
    made, ours = project(there, k), expected(gamma, k)
    (grad,) = torch.autograd.grad(made, there, torch.ones_like(made))
    if not _same(made.detach().cpu(), ours):
        return "another projection"
    if k < counted(gamma) and not _same(grad.cpu(), eager.mask(torch.ones_like(gamma), ours)):
        return "another gradient"
    return ""


def _deliveries(device: str) -> list[str]:
    """The gradients that a penalty gives the weights: the same by either delivery, and as on the CPU."""

    def gradients(where: str, delivery: str) -> list[Tensor]:
        torch.manual_seed(0)
        g = nn.Sequential(nn.ConvTranspose2d(16, 32, 4), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1)).to(where)
        z = torch.randn(4, 16, 1, 1).to(where)
        attachment = sparse_plugin.attach(g, "l1", weight=10.0, delivery=delivery, example_input=z)
        loss = g(z).square().mean()
        (loss + attachment.penalty() if delivery == "loss" else loss).backward()
        return [p.grad.cpu() for p in g.parameters() if p.grad is not None]

    expected = gradients("cpu", "loss")
    wrong = []
    for delivery in ("loss", "gradient"):
        found = gradients(device, delivery)
        if not all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-5) for one, other in zip(found, expected, strict=True)
        ):
            wrong.append(f"l1 by {delivery}: other gradients than on the CPU")
    return wrong


def speed(options: argparse.Namespace, note: Note = unsaid) -> dict[str, Any]:
    """Forward and backward in float32, k a quarter of what competes, and the block sizes."""
    rows: list[dict[str, Any]] = []
    for shape in ((2, 16, 8, 8),) if options.quick else TIMED:
        rows.append(_timed(shape, options))
        note({"lines": _told(rows, options), "rows": rows})
    return {"done": True, "lines": _told(rows, options), "rows": rows}


def _timed(shape: tuple[int, ...], options: argparse.Namespace) -> dict[str, Any]:
    gamma = torch.randn(shape, device=options.device, requires_grad=True)
    grad, plain = torch.randn(shape, device=options.device), gamma.detach()
    rows = plain.movedim(1, -1).reshape(-1, shape[1]).contiguous()
    quarter = {name: max(1, counted(plain) // 4) for name, (_, _, counted) in PROJECTIONS.items()}
    usual = {"l0_inf": topk_needles, "l0": topk_global, "l0_channel": topk_channels}
    candidates: dict[str, Callable[[], object]] = {
        "copy": plain.clone,
        "relu": forward_backward(torch.relu, gamma, grad),
        "topk of rows": lambda: rows.topk(quarter["l0_inf"], dim=1),
        "l0_inf of rows": lambda: project_needles(rows, quarter["l0_inf"]),
    }
    for name, (project, _, _) in PROJECTIONS.items():
        k = quarter[name]
        candidates[name] = forward_backward(lambda g, k=k, project=project: project(g, k), gamma, grad)
        candidates[f"{name} topk"] = forward_backward(lambda g, k=k, name=name: usual[name](g, k), gamma, grad)
        candidates[f"{name} forward"] = lambda k=k, project=project: project(plain, k)
    timed = interleave(candidates, 7 if options.quick else 25, time.perf_counter)
    ms = {name: entry["median"] for name, entry in timed.items()}
    ratios = {f"{name} / relu": ms[name] / ms["relu"] for name in PROJECTIONS}
    ratios["topk / l0_inf"] = ms["topk of rows"] / ms["l0_inf of rows"]
    ratios |= {f"{name} forward / copy": ms[f"{name} forward"] / ms["copy"] for name in PROJECTIONS}
    return {"shape": shape, "milliseconds": timed, "ratios": ratios, "blocks": _blocks(options, gamma, grad, quarter)}


def _told(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    """The times, the ratios beside their goals, and the block sizes."""
    shapes = ["x".join(map(str, row["shape"])) for row in rows]
    usual = {"l0": "topk + comparison"}
    names = {"copy": "copy, forward", "relu": "relu"}
    for name in PROJECTIONS:
        names |= {name: name, f"{name} topk": f"{usual.get(name, 'topk + scatter')} for it"}
    times = [
        [title, *(f"{row['milliseconds'][name]['median']:.4f}" for row in rows)] for name, title in names.items()
    ]
    told = []
    for name in rows[0]["ratios"]:
        bound, direction = GOALS.get(name, (0.0, ""))
        cells = []
        for row in rows:
            value = row["ratios"][name]
            missed = direction and (value > bound if direction == "at most" else value < bound)
            cells.append(f"{value:.2f}{' (missed)' if missed and options.device.startswith('cuda') else ''}")
        told.append([name, f"{direction} {bound:g}" if direction else "", *cells])
    lines = [
        "Milliseconds, forward + backward, medians:", "", files.markdown(["", *shapes], times), "",
        "Ratios; the goals are an H100-class card's. topk / l0_inf: forward, of rows of C alone. Forward / copy: 1 is the memory's limit.",
        "", files.markdown(["", "goal", *shapes], told), "",
    ]  # fmt: skip
    for row, shape in zip(rows, shapes, strict=True):
        swept = ", ".join(f"{name}: {v if isinstance(v, str) else f'{v:.4f}'}" for name, v in row["blocks"].items())
        lines += [f"- {shape}, forward + backward by block size: {swept}"] if swept else []
    return lines


def _blocks(
    options: argparse.Namespace, gamma: Tensor, grad: Tensor, quarter: dict[str, int]
) -> dict[str, float | str]:
    """Milliseconds, forward and backward, with other block sizes of the Triton kernels, or why one does not run; {} on a CPU,
    which has none.
    """
    if not options.device.startswith("cuda"):
        return {}
    found: dict[str, float | str] = {}
    swept = {"_HELD": ((1024, 2048, 4096, 8192), ("l0_inf", "l0_channel")), "_BLOCK": ((1024, 2048, 4096), ("l0",))}
    for setting, (sizes, names) in swept.items():
        before = getattr(gpu, setting)
        for size in sizes:
            setattr(gpu, setting, size)
            for name in names:
                k, project = quarter[name], PROJECTIONS[name][0]
                run = forward_backward(lambda g, k=k, project=project: project(g, k), gamma, grad)
                try:
                    found[f"{name} {size}"] = interleave({"": run}, 15, time.perf_counter)[""]["median"]
                except Exception as error:  # more registers or shared memory than there are
                    found[f"{name} {size}"] = f"{type(error).__name__}: {str(error)[:80]}"
        setattr(gpu, setting, before)
    return found

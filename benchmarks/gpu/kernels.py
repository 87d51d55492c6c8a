"""The projections on a device: equal to the reference, and how fast."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from projections import forward_backward, interleave, topk_global, topk_needles
from torch import Tensor, nn

import sparse_plugin
from sparse_plugin.experiments import files
from sparse_plugin.projections import eager, gpu, kernel_status, project_global, project_needles

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHAPES = ((2, 128, 16, 16), (3, 37, 5, 7), (1, 512, 3, 3), (2, 8, 64, 1), (4, 1, 9, 9))
# The documented ones, and rows of RTop-K's lengths.
TIMED = ((64, 128, 16, 16), (64, 256, 32, 32), (1, 128, 256, 256), *((64, c, 32, 32) for c in (64, 512)))
GOALS = {"l0_inf / relu": 1.5, "l0 / relu": 3.0}


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


def correct(options: argparse.Namespace) -> dict[str, Any]:
    """Both projections, forward and backward, against the reference on the CPU; all deliveries of a penalty."""
    wrong: list[str] = []
    count = 0
    for dtype in DTYPES[: 2 if options.quick else None]:
        for shape in SHAPES[1:2] if options.quick else SHAPES:
            for what, gamma in inputs(shape, dtype):
                size = gamma[0].numel()
                cases = [
                    ("l0_inf", project_needles, eager.needles, k) for k in {1, max(1, shape[1] // 4), shape[1]}
                ]
                cases += [("l0", project_global, eager.samples, k) for k in {1, max(1, size // 4), size}]
                for name, project, expected, k in cases:
                    count += 1
                    there = gamma.to(options.device, copy=True).requires_grad_()
                    made = project(there, k)
                    ours = expected(gamma, k)
                    (grad,) = torch.autograd.grad(made, there, torch.ones_like(made))
                    kept = (
                        eager.mask(torch.ones_like(gamma), ours)
                        if k < (shape[1] if name == "l0_inf" else size)
                        else None
                    )
                    if not _same(made.detach().cpu(), ours):
                        wrong.append(f"{name}, {dtype}, {shape}, k = {k}, {what}: another projection")
                    elif kept is not None and not _same(grad.cpu(), kept):
                        wrong.append(f"{name}, {dtype}, {shape}, k = {k}, {what}: another gradient")
    wrong += _deliveries(options.device)
    paths = [f"{row['path']} on {row['device']}: {row['state']}" for row in kernel_status()]
    lines = [
        f"{count} cases against the reference, {len(wrong)} wrong",
        *(f"- {text}" for text in (*wrong[:40], *paths)),
    ]
    return {"done": not wrong, "lines": lines, "wrong": wrong, "cases": count}


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


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Forward and backward in float32, k = C/4 (a quarter of the sample for l0), and the block sizes."""
    shapes, rounds = (((2, 16, 8, 8),), 7) if options.quick else (TIMED, 25)
    rows, table = [], []
    for shape in shapes:
        gamma = torch.randn(shape, device=options.device, requires_grad=True)
        grad, plain = torch.randn(shape, device=options.device), gamma.detach()
        k, many = shape[1] // 4, gamma[0].numel() // 4
        timed = interleave(
            {
                "copy": plain.clone,
                "relu": forward_backward(torch.relu, gamma, grad),
                "l0_inf": forward_backward(lambda g, k=k: project_needles(g, k), gamma, grad),
                "l0_inf topk": forward_backward(lambda g, k=k: topk_needles(g, k), gamma, grad),
                "topk alone": lambda plain=plain, k=k: plain.abs().topk(k, dim=1),
                "l0_inf forward": lambda plain=plain, k=k: project_needles(plain, k),
                "l0": forward_backward(lambda g, k=many: project_global(g, k), gamma, grad),
                "l0 topk": forward_backward(lambda g, k=many: topk_global(g, k), gamma, grad),
            },
            rounds,
            time.perf_counter,
        )
        ms = {name: entry["median"] for name, entry in timed.items()}
        ratios = {"l0_inf / relu": ms["l0_inf"] / ms["relu"], "l0 / relu": ms["l0"] / ms["relu"]}
        rows.append({"shape": shape, "milliseconds": timed, "ratios": ratios, "blocks": _blocks(options, plain, k)})
        table.append([
            "x".join(map(str, shape)), *(f"{ms[name]:.4f}" for name in ("copy", "relu", "l0_inf", "l0_inf topk", "l0", "l0 topk")),
            *(f"{value:.2f}{'' if value <= GOALS[name] else ' (missed)'}" for name, value in ratios.items()),
            f"{ms['topk alone'] / ms['l0_inf forward']:.1f}",
        ])  # fmt: skip
    heading = ["Γ", "copy", "relu", "l0_inf", "topk + scatter", "l0", "topk + comparison"]
    heading += [f"{name}, goal {goal:g}" for name, goal in GOALS.items()] + ["topk / l0_inf, forward"]
    lines = ["Milliseconds, forward + backward (copy: forward), medians.", "", files.markdown(heading, table)]
    for row in rows:
        if row["blocks"]:
            swept = ", ".join(f"{name}: {value:.4f}" for name, value in row["blocks"].items())
            lines.append(f"- {row['shape']}, forward by block size: {swept}")
    return {"done": True, "lines": lines, "rows": rows}


def _blocks(options: argparse.Namespace, gamma: Tensor, k: int) -> dict[str, float]:
    """Milliseconds of both forwards with other block sizes of the Triton kernels; {} on a CPU, which has none."""
    if not options.device.startswith("cuda"):
        return {}
    found: dict[str, float] = {}
    for name, sizes, run in (
        ("_HELD", (1024, 2048, 4096, 8192), lambda: project_needles(gamma, k)),
        ("_BLOCK", (1024, 2048, 4096), lambda: project_global(gamma, gamma[0].numel() // 4)),
    ):
        before = getattr(gpu, name)
        for size in sizes:
            setattr(gpu, name, size)
            timed = interleave({"": run}, 15, time.perf_counter)
            found[f"{'l0_inf' if name == '_HELD' else 'l0'} {size}"] = timed[""]["median"]
        setattr(gpu, name, before)
    return found

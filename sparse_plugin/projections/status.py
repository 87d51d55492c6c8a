"""What became of every backend of the projections on this machine."""

from __future__ import annotations

import torch

from sparse_plugin.projections import dispatch
from sparse_plugin.support import cache


def kernel_status(load: bool = True) -> list[dict[str, str]]:
    """One row for each path, in the order of preference: `path`, `device`, `state`, `why`, and `where` its files are.

    state is "ready", "unavailable", "no device" or, with load=False, perhaps "not loaded". With load=True a path whose
    device is present is loaded (and compiled, where that is still to be done), so that the answer is a fact.
    """
    rows = []
    for device in ("cuda", "cpu"):
        backend = dispatch.BACKENDS[device]
        where = str(cache.directory()) if device == "cpu" else "triton's own cache"
        if device == "cuda" and not torch.cuda.is_available():
            rows.append(_row(backend.name, device, "no device", "torch sees no CUDA device", where))
            continue
        if load:
            backend.kernels()
        rows.append(_row(backend.name, device, backend.state, backend.why, where))
    rows.append(_row("reference", "any", "ready", "plain torch operations", ""))
    return rows


def _row(path: str, device: str, state: str, why: str, where: str) -> dict[str, str]:
    return {"path": path, "device": device, "state": state, "why": why, "where": where}

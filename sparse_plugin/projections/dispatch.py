"""Which backend runs an operator: Triton on CUDA, compiled C on the CPU, plain torch everywhere else.

A backend is loaded by the first Γ on its device, checked against the reference, and given up for good, with one warning
that says why, when it cannot be loaded or disagrees. The environment variable SPARSE_PLUGIN_KERNEL (reference, c or
triton) forces one, for tests and benchmarks, and then a backend that fails is an error.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from sparse_plugin.errors import ConfigError, one_of
from sparse_plugin.projections import eager

log = logging.getLogger("sparse_plugin")


class Kernels(Protocol):
    """What a backend offers; Γ has entries, 1 <= k < size, and results have Γ's shape, dtype and strides."""

    def l0_inf(self, gamma: Tensor, k: int) -> Tensor: ...
    def l0(self, gamma: Tensor, k: int) -> Tensor: ...
    def l0_channel(self, gamma: Tensor, k: int) -> Tensor: ...
    def mask(self, grad: Tensor, projected: Tensor) -> Tensor: ...


class Backend:
    """One way to run the projections on one kind of device, and what became of it: `state` and `why`."""

    def __init__(self, name: str, device: str, load: Callable[[], Kernels]) -> None:
        self.name, self.device = name, device
        self.state, self.why = "not loaded", "no projection has needed it yet"
        self._load, self._lock = load, threading.RLock()
        self._kernels: Kernels | None = None

    def kernels(self) -> Kernels | None:
        """The kernels, loaded and checked by the first call, or None for good."""
        if self.state in ("not loaded", "loading"):
            with self._lock:
                if self.state == "loading":  # its own check came back here
                    return None
                if self.state == "not loaded":
                    self._try()
        return self._kernels

    def _try(self) -> None:
        self.state = "loading"
        try:
            kernels = self._load()
            wrong = disagreement(kernels, self.device)
        except Exception as error:
            self.state, self.why = "unavailable", f"{type(error).__name__}: {error}"
        else:
            if wrong:
                self.state, self.why = "unavailable", f"it disagrees with the reference on {wrong}"
            else:
                self._kernels, self.state, self.why = kernels, "ready", "it agrees with the reference"
        if self.state == "unavailable":
            log.warning(
                "no %s kernel for the projections on %s (%s); they run in plain torch, exact but slower",
                self.name,
                self.device,
                self.why,
            )


def _load_c() -> Kernels:
    from sparse_plugin.projections.cpu import CpuKernels

    return CpuKernels()


def _load_triton() -> Kernels:
    from sparse_plugin.projections.gpu import TritonKernels

    return TritonKernels()


BACKENDS = {"cpu": Backend("c", "cpu", _load_c), "cuda": Backend("triton", "cuda", _load_triton)}
_forced_triton = Backend("triton", "cpu", _load_triton)
_said: set[str] = set()


def l0_inf(gamma: Tensor, k: int) -> Tensor:
    """`project_needles` for 0 <= k, never aliasing Γ."""
    if k == 0 or gamma.numel() == 0:
        return torch.zeros_like(gamma)
    if k >= gamma.shape[1]:
        return gamma.clone()
    return _kernels(gamma.device.type).l0_inf(gamma, k)


def l0(gamma: Tensor, k: int) -> Tensor:
    """`project_global` for 0 <= k, never aliasing Γ."""
    if k == 0 or gamma.numel() == 0:
        return torch.zeros_like(gamma)
    if k >= gamma.shape[1:].numel():
        return gamma.clone()
    return _kernels(gamma.device.type).l0(gamma, k)


def l0_channel(gamma: Tensor, k: int) -> Tensor:
    """`project_channels` for 0 <= k, never aliasing Γ."""
    if k == 0 or gamma.numel() == 0:
        return torch.zeros_like(gamma)
    if k >= gamma.shape[2:].numel():
        return gamma.clone()
    return _kernels(gamma.device.type).l0_channel(gamma, k)


def mask(grad: Tensor, projected: Tensor) -> Tensor:
    """grad * (projected != 0), in the memory format of `projected`."""
    if projected.numel() == 0:
        return torch.empty_like(projected)
    return _kernels(projected.device.type).mask(grad, projected)


def _kernels(device: str) -> Kernels:
    forced = os.environ.get("SPARSE_PLUGIN_KERNEL")
    if forced:
        return _forced(forced, device)
    backend = BACKENDS.get(device)
    if backend is not None:
        return backend.kernels() or eager
    if device not in _said:
        _said.add(device)
        log.warning("there is no kernel for the projections on %s; they run in plain torch, exact but slower", device)
    return eager


def _forced(name: str, device: str) -> Kernels:
    if name == "reference":
        return eager
    known = {backend.name: backend for backend in BACKENDS.values()}
    if name not in known:
        raise ConfigError(f"SPARSE_PLUGIN_KERNEL: {one_of('path', name, ['reference', *known])}")
    backend = _forced_triton if (name, device) == ("triton", "cpu") else known[name]
    kernels = backend.kernels() if backend.device == device else None
    if kernels is None:
        why = backend.why if backend.device == device else f"it runs on {backend.device}"
        raise ConfigError(f"SPARSE_PLUGIN_KERNEL asks for {name!r}, which cannot run on {device} ({why}); unset it")
    return kernels


def disagreement(kernels: Kernels, device: str) -> str:
    """The first small case on which kernels and reference differ by a bit, or "" when there is none."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        for shape in ((2, 12, 9, 9), (1, 16, 20, 16)):
            gamma = _specimen(shape, dtype, device)
            for k in (1, 5, 11):
                for name, what in (("l0_inf", "needles"), ("l0", "samples"), ("l0_channel", "channels")):
                    expected = getattr(eager, name)(gamma, k)
                    if not _same(getattr(kernels, name)(gamma, k), expected):
                        return f"{what} of {dtype}, shape {shape}, k = {k}"
            if not _same(kernels.mask(gamma, expected), eager.mask(gamma, expected)):
                return f"mask of {dtype}, shape {shape}"
    return ""


def _specimen(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    """A tensor with ties, zeros of both signs, infinities and NaN, without touching the random state."""
    count = torch.arange(torch.Size(shape).numel(), device=device, dtype=torch.float64)
    values = ((count * 7919).remainder(1009) - 504) * 0.37
    values[::3] = ((count * 31).remainder(17) - 8)[::3]
    values[5::41], values[7::43], values[9::97], values[11::101] = -0.0, 0.0, float("inf"), float("nan")
    return values.to(dtype).view(shape)


def _same(left: Tensor, right: Tensor) -> bool:
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[left.element_size()]
    return torch.equal(left.view(bits), right.view(bits))

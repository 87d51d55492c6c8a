"""The projections on the CPU: the compiled C kernels, called through ctypes (which releases the interpreter's lock).

Cost: linear in the number of entries and nearly flat in k; needles read Γ and write the result once each, samples
read it twice. The result is the only memory: needles need a tile of scratch per thread (C * 64 entries), samples
none.
"""

from __future__ import annotations

import ctypes
import os

import torch
from torch import Tensor

from sparse_plugin.projections import compiler, eager, maps

# Below this many entries waking other threads costs more than they save.
_SERIAL = 32768
# The counts of a needle are kept in 16 bits.
_CHANNELS = 32767
# The longest channel map that is faster as a needle than as a sample, measured: contiguous, and with channels last, where a
# sample would have to be copied.
_LINED, _SCATTERED = 4096, 16384
_INFINITY = {
    torch.float16: 0x7C00,
    torch.bfloat16: 0x7F80,
    torch.float32: 0x7F800000,
    torch.float64: 0x7FF0000000000000,
}


class CpuKernels:
    """The functions of the library; raises `compiler.CompilerError` when there is none to be had."""

    def __init__(self) -> None:
        library = compiler.load()
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        threads = (ctypes.c_int, pointer)
        self._needles = _functions(library, "needles", pointer, pointer, *[integer] * 5, *threads)
        self._samples = _functions(library, "samples", pointer, pointer, *[integer] * 5, *threads)
        self._mask = _functions(library, "mask", pointer, pointer, pointer, integer, *threads)
        self._team = _torch_team()
        self._forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._stay_serial)

    def l0_inf(self, gamma: Tensor, k: int) -> Tensor:
        channels = gamma.shape[1]
        if channels > _CHANNELS:
            return eager.l0_inf(gamma, k)
        out = torch.empty_like(gamma)
        if gamma.stride() != out.stride():
            gamma = torch.empty_like(out).copy_(gamma)
        inner = gamma.stride(1)  # of a dense tensor: how many entries lie inside a channel, in whatever order
        failed = self._needles[gamma.dtype](
            gamma.data_ptr(),
            out.data_ptr(),
            gamma.numel() // (channels * inner),
            channels,
            inner,
            k,
            _INFINITY[gamma.dtype],
            *self._threads(gamma),
        )
        if failed:
            raise MemoryError(f"no memory for the scratch tiles of a projection of shape {tuple(gamma.shape)}")
        return out

    def l0(self, gamma: Tensor, k: int) -> Tensor:
        out = torch.empty_like(gamma)
        size, columns = gamma.shape[1:].numel(), 1
        if _channels_last(gamma):
            columns = gamma.shape[1]
        elif not gamma.is_contiguous():
            return out.copy_(self.l0(gamma.contiguous(), k))
        self._samples[gamma.dtype](
            gamma.data_ptr(),
            out.data_ptr(),
            gamma.shape[0],
            size // columns,
            columns,
            k,
            _INFINITY[gamma.dtype],
            *self._threads(gamma),
        )
        return out

    def l0_channel(self, gamma: Tensor, k: int) -> Tensor:
        return maps.l0_channel(self, gamma, k, _SCATTERED if _channels_last(gamma) else _LINED)

    def mask(self, grad: Tensor, projected: Tensor) -> Tensor:
        out = torch.empty_like(projected)
        if grad.dtype != projected.dtype:
            return eager.mask(grad, projected)
        if projected.stride() != out.stride():
            projected = torch.empty_like(out).copy_(projected)
        if grad.stride() != out.stride():
            grad = torch.empty_like(out).copy_(grad)
        self._mask[projected.dtype](
            grad.data_ptr(), projected.data_ptr(), out.data_ptr(), projected.numel(), *self._threads(projected)
        )
        return out

    def _threads(self, gamma: Tensor) -> tuple[int, int | None]:
        if self._forked or gamma.numel() < _SERIAL:
            return 1, None
        return torch.get_num_threads(), self._team

    def _stay_serial(self) -> None:
        self._forked = True  # the threads of the parent's pool are not in the child, and waiting for them hangs


def _channels_last(gamma: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return gamma.dim() in formats and gamma.is_contiguous(memory_format=formats[gamma.dim()])


def _functions(library: ctypes.CDLL, name: str, *arguments: type) -> dict[torch.dtype, ctypes._NamedFuncPointer]:
    functions = {}
    for dtype in _INFINITY:
        function = getattr(library, f"{name}_{dtype.itemsize * 8}")
        function.argtypes, function.restype = arguments, ctypes.c_int
        functions[dtype] = function
    return functions


def _torch_team() -> int | None:
    """Where the OpenMP runtime that torch uses starts a parallel section, or None for threads of the kernels' own."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError, TypeError):
        return None

"""The projections on a GPU: launches of the Triton kernels. Their speed on a GPU has not been measured.

Needles. One program holds POSITIONS needles of C channels (rounded up to a power of two) in registers and searches them
there: Γ is read once and the result written once, 2 x 4 bytes for an fp32 entry. POSITIONS * C is 4096, 16 entries for
each of 256 threads: ptxas gives them 80 registers on sm_80 and sm_90 without spilling, so three blocks share a
multiprocessor (with 8192 it takes 152 to 161 registers, and one block fits). At C = 256 a row is 16 fp32 entries, two
32-byte sectors. Above 8192 channels the reference runs.

Samples. Radix selection over eight bits at a time: 4 passes for fp32 (2 for 16 bits, 8 for fp64), one more over the
samples where not all ties stay, and one that writes, so Γ is read 5 to 6 times and the result written once: 24 to 28
bytes for an fp32 entry, of which the reads after the first come from the second-level cache up to its size. A program
reads blocks of 2048 entries, and as many of them as give 1024 programs in all at most. Beside the result it takes 256
counters for each sample and pass, and a few bytes. Nothing waits for the GPU.

Channel maps are needles of (N, positions, C) up to 8192 positions, and samples of (N·C, positions) above.

The gradient reads both its inputs once and writes once: 12 bytes for an fp32 entry.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from sparse_plugin.projections import eager, maps

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_NAN = {
    torch.float16: 0x7C01,
    torch.bfloat16: 0x7F81,
    torch.float32: 0x7F800001,
    torch.float64: 0x7FF0000000000001,
}
_HELD = 4096  # entries that a program of the needle kernel holds
_CHANNELS = 8192
_BLOCK = 2048
_PROGRAMS = 1024
_SAMPLES = 65535  # what the second dimension of a launch holds


class TritonKernels:
    """The launches; raises ImportError where Triton is not installed."""

    def __init__(self) -> None:
        from sparse_plugin.projections import triton_kernels

        self._kernels: Any = triton_kernels

    def l0_inf(self, gamma: Tensor, k: int) -> Tensor:
        channels = gamma.shape[1]
        if channels > _CHANNELS:
            return eager.l0_inf(gamma, k)
        out = torch.empty_like(gamma)
        needles = gamma.numel() // channels
        held, at_once = block_of_needles(channels, needles)
        with _on(gamma):
            self._kernels.needles[(-(-needles // at_once),)](
                *_as_bits(gamma, out),
                k,
                channels,
                needles,
                *_five(gamma.shape, 1)[2:],
                *_five(gamma.stride(), 0),
                *_five(out.stride(), 0),
                WIDTH=8 * gamma.element_size(),
                NAN=_NAN[gamma.dtype],
                CHANNELS=held,
                POSITIONS=at_once,
                num_warps=8,
            )
        return out

    def l0(self, gamma: Tensor, k: int) -> Tensor:
        out = torch.empty_like(gamma)
        samples, size = gamma.shape[0], gamma.shape[1:].numel()
        if samples > _SAMPLES:
            return eager.l0(gamma, k)
        width, nan = 8 * gamma.element_size(), _NAN[gamma.dtype]
        chunks, per_program = chunks_of_sample(samples, size)
        passes = width // 8
        histograms = torch.zeros((passes, samples, 256), dtype=torch.int32, device=gamma.device)
        states = torch.zeros((passes + 1, samples, 2), dtype=torch.int64, device=gamma.device)
        states[0, :, 1] = k
        ties = torch.empty((samples, chunks), dtype=torch.int32, device=gamma.device)
        source, target = _as_bits(gamma, out)
        dense = gamma.is_contiguous()
        work = (histograms, states, samples, size, per_program)
        inner, strides = _five(gamma.shape, 1)[2:], _five(gamma.stride(), 0)
        constants = {"WIDTH": width, "NAN": nan, "DENSE": dense, "BLOCK": _BLOCK, "num_warps": 8}
        grid = (chunks, samples)
        with _on(gamma):
            for digit in range(passes):
                self._kernels.count_digits[grid](source, *work, digit, *inner, *strides, FIRST=digit == 0, **constants)
            self._kernels.count_ties[grid](source, ties, *work, passes - 1, *inner, *strides, **constants)
            self._kernels.write_samples[grid](
                source,
                target,
                ties,
                *work,
                passes - 1,
                *inner,
                *strides,
                *_five(out.stride(), 0),
                CHUNKS=power_of_two(chunks),
                **constants,
            )
        return out

    def l0_channel(self, gamma: Tensor, k: int) -> Tensor:
        return maps.l0_channel(self, gamma, k, _CHANNELS)

    def mask(self, grad: Tensor, projected: Tensor) -> Tensor:
        out = torch.empty_like(projected)
        if not grad.stride() == projected.stride() == out.stride() or grad.dtype != projected.dtype:
            return eager.mask(grad, projected)
        bits = _as_bits(grad, projected, out)
        size = out.numel()
        with _on(out):
            self._kernels.mask[(-(-size // _BLOCK),)](*bits, size, WIDTH=8 * out.element_size(), BLOCK=_BLOCK)
        return out


def block_of_needles(channels: int, needles: int) -> tuple[int, int]:
    """The channels and the needles that one program holds: powers of two, with a product of 4096 where they can."""
    held = power_of_two(channels)
    return held, min(max(1, _HELD // held), 256, power_of_two(needles))


def chunks_of_sample(samples: int, size: int) -> tuple[int, int]:
    """How many programs share a sample, and how many entries, a multiple of the block, each of them reads."""
    blocks = -(-size // _BLOCK)
    chunks = max(1, min(blocks, _PROGRAMS // samples))
    per_program = -(-blocks // chunks) * _BLOCK
    return -(-size // per_program), per_program


def power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _as_bits(*tensors: Tensor) -> list[Tensor]:
    return [tensor.view(_BITS[tensor.element_size()]) for tensor in tensors]


def _five(numbers: Any, missing: int) -> tuple[int, ...]:
    """Sizes or strides of (N, C, ...) for (N, C, S1, S2, S3)."""
    if len(numbers) > 5:
        raise ValueError(f"a projection takes 2 to 5 dimensions on a GPU, not {len(numbers)}")
    inner = tuple(numbers[2:])
    return (numbers[0], numbers[1], *(missing,) * (3 - len(inner)), *inner)


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, which under DataParallel need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()

"""The Triton kernels of the projections, on floats seen as integers, with any strides.

A magnitude is the bits without the sign; `NAN` (infinity + 1) caps it, so every NaN is largest and equal to every
other. Γ is (N, C, S1, S2, S3), with 1 for what it lacks. `gpu.py` chooses block sizes and says what is moved.
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

import inspect

import triton
import triton.language as tl

# That of Triton 3.2, which comes with torch 2.6, takes none.
HISTOGRAM_TAKES_A_MASK = tl.constexpr("mask" in inspect.signature(tl.histogram).parameters)


@triton.jit
def _magnitude(bits, WIDTH: tl.constexpr, NAN: tl.constexpr):
    if WIDTH == 64:
        key = bits & 0x7FFFFFFFFFFFFFFF
    elif WIDTH == 32:
        key = bits & 0x7FFFFFFF
    else:
        key = bits.to(tl.int32) & 0x7FFF
    return tl.minimum(key, tl.full(key.shape, NAN, key.dtype))


@triton.jit
def needles(
    gamma, out, k, channels, positions, s1, s2, s3,
    gn, gc, g1, g2, g3, on, oc, o1, o2, o3,
    WIDTH: tl.constexpr, NAN: tl.constexpr, CHANNELS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Keep the k largest of every needle: a program holds POSITIONS needles in registers and searches all at once.

    The threshold is built bit by bit: a bit stays when at least k magnitudes reach the number made so far. Γ is read
    once and the result written once.
    """
    p = tl.program_id(0).to(tl.int64) * POSITIONS + tl.arange(0, POSITIONS)
    x3 = p % s3
    x2 = p // s3 % s2
    x1 = p // s3 // s2 % s1
    n = p // s3 // s2 // s1
    c = tl.arange(0, CHANNELS)[:, None].to(tl.int64)
    inside = (c < channels) & (p < positions)[None, :]
    bits = tl.load(gamma + (n * gn + x1 * g1 + x2 * g2 + x3 * g3)[None, :] + c * gc, mask=inside, other=0)
    key = tl.where(inside, _magnitude(bits, WIDTH, NAN), -1)

    threshold = tl.zeros((POSITIONS,), key.dtype)
    for step in range(WIDTH - 1):
        bit = tl.full((POSITIONS,), 1, key.dtype) << (WIDTH - 2 - step)
        candidate = threshold | bit
        enough = tl.sum((key >= candidate[None, :]).to(tl.int32), axis=0) >= k
        threshold = tl.where(enough, candidate, threshold)

    above = key > threshold[None, :]
    equal = (key == threshold[None, :]).to(tl.int32)
    room = k - tl.sum(above.to(tl.int32), axis=0)
    kept = above | ((equal == 1) & (tl.cumsum(equal, axis=0) <= room[None, :]))
    tl.store(
        out + (n * on + x1 * o1 + x2 * o2 + x3 * o3)[None, :] + c * oc,
        tl.where(kept, bits, tl.zeros_like(bits)),
        mask=inside,
    )


@triton.jit
def _offset(i, s1, s2, s3, tc, t1, t2, t3, DENSE: tl.constexpr):
    """Where entry i of a sample, in the order (c, s1, s2, s3), lies in memory."""
    if DENSE:
        return i
    return i // s3 // s2 // s1 * tc + i // s3 // s2 % s1 * t1 + i // s3 % s2 * t2 + i % s3 * t3


@triton.jit
def _narrowed(histograms, states, sample, samples, digit, chunk, BITS: tl.constexpr):
    """The prefix of the threshold down to `digit`, the rank left inside it, and how many magnitudes share it.

    Every program works it out from the last pass's histogram; the first of each sample writes it down for the next.
    """
    bins = tl.arange(0, 256)
    before = states + (digit * samples + sample) * 2
    prefix = tl.load(before)
    rank = tl.load(before + 1)
    count = tl.load(histograms + (digit * samples + sample) * 256 + bins).to(tl.int64)
    at_least = tl.sum(count, axis=0) - tl.cumsum(count, axis=0) + count
    found = tl.max(tl.where(at_least >= rank, bins, 0), axis=0)
    level = tl.sum(tl.where(bins == found, count, 0), axis=0)
    rank -= tl.sum(tl.where(bins > found, count, 0), axis=0)
    prefix = prefix | (found.to(tl.int64) << (BITS - 8 - 8 * digit))
    if chunk == 0:
        tl.store(before + samples * 2, prefix)
        tl.store(before + samples * 2 + 1, rank)
    return prefix, rank, level


@triton.jit
def count_digits(
    gamma, histograms, states, samples, size, per_program, digit, s1, s2, s3, gn, gc, g1, g2, g3,
    WIDTH: tl.constexpr, NAN: tl.constexpr, FIRST: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One pass of the radix selection: the histogram of the next eight bits where the prefix is shared."""
    chunk = tl.program_id(0)
    sample = tl.program_id(1)
    shift = WIDTH - 8 - 8 * digit
    prefix = tl.full((), 0, tl.int64)
    if not FIRST:
        prefix, _, _ = _narrowed(histograms, states, sample, samples, digit - 1, chunk, WIDTH)
    bins = tl.arange(0, 256)
    total = tl.zeros((256,), tl.int32)
    start = chunk.to(tl.int64) * per_program
    for at in range(0, per_program, BLOCK):
        i = start + at + tl.arange(0, BLOCK)
        inside = (i < size) & (i < start + per_program)
        where = gamma + sample.to(tl.int64) * gn + _offset(i, s1, s2, s3, gc, g1, g2, g3, DENSE)
        key = _magnitude(tl.load(where, mask=inside, other=0), WIDTH, NAN).to(tl.int64)
        if not FIRST:
            inside = inside & (key >> (shift + 8) == prefix >> (shift + 8))
        digits = (key >> shift & 255).to(tl.int32)
        if HISTOGRAM_TAKES_A_MASK:
            total += tl.histogram(digits, 256, mask=inside)
        else:
            outside = tl.sum((inside == 0).to(tl.int32), axis=0)
            total += tl.histogram(tl.where(inside, digits, 0), 256) - tl.where(bins == 0, outside, 0)
    tl.atomic_add(histograms + (digit * samples + sample) * 256 + bins, total, mask=total > 0)


@triton.jit
def count_ties(
    gamma, ties, histograms, states, samples, size, per_program, digit, s1, s2, s3, gn, gc, g1, g2, g3,
    WIDTH: tl.constexpr, NAN: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """How many magnitudes of each chunk equal the threshold; not looked at where all of them stay."""
    chunk = tl.program_id(0)
    sample = tl.program_id(1)
    threshold, room, level = _narrowed(histograms, states, sample, samples, digit, chunk, WIDTH)
    if level > room:
        total = tl.full((), 0, tl.int32)
        start = chunk.to(tl.int64) * per_program
        for at in range(0, per_program, BLOCK):
            i = start + at + tl.arange(0, BLOCK)
            inside = (i < size) & (i < start + per_program)
            where = gamma + sample.to(tl.int64) * gn + _offset(i, s1, s2, s3, gc, g1, g2, g3, DENSE)
            key = _magnitude(tl.load(where, mask=inside, other=0), WIDTH, NAN).to(tl.int64)
            total += tl.sum((inside & (key == threshold)).to(tl.int32), axis=0)
        tl.store(ties + sample * tl.num_programs(0) + chunk, total)


@triton.jit
def write_samples(
    gamma, out, ties, histograms, states, samples, size, per_program, digit, s1, s2, s3,
    gn, gc, g1, g2, g3, on, oc, o1, o2, o3,
    WIDTH: tl.constexpr, NAN: tl.constexpr, DENSE: tl.constexpr, CHUNKS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what reaches the threshold; where not all of its equals stay, those with the lowest index do."""
    chunk = tl.program_id(0)
    sample = tl.program_id(1)
    # What is written down here lands beyond the state that is read, so the programs do not disturb each other.
    threshold, room, level = _narrowed(histograms, states, sample, samples, digit, chunk, WIDTH)
    if level > room:
        others = tl.arange(0, CHUNKS)
        before = others < chunk
        counted = tl.load(ties + sample * tl.num_programs(0) + others, mask=before, other=0)
        room -= tl.sum(counted.to(tl.int64), axis=0)
    else:
        room = tl.full((), 1, tl.int64) << 62
    start = chunk.to(tl.int64) * per_program
    for at in range(0, per_program, BLOCK):
        i = start + at + tl.arange(0, BLOCK)
        inside = (i < size) & (i < start + per_program)
        where = gamma + sample.to(tl.int64) * gn + _offset(i, s1, s2, s3, gc, g1, g2, g3, DENSE)
        bits = tl.load(where, mask=inside, other=0)
        key = _magnitude(bits, WIDTH, NAN).to(tl.int64)
        equal = (inside & (key == threshold)).to(tl.int32)
        kept = (key > threshold) | ((equal == 1) & (tl.cumsum(equal, axis=0).to(tl.int64) <= room))
        room -= tl.sum(equal, axis=0)
        target = out + sample.to(tl.int64) * on + _offset(i, s1, s2, s3, oc, o1, o2, o3, DENSE)
        tl.store(target, tl.where(kept, bits, tl.zeros_like(bits)), mask=inside)


@triton.jit
def mask(grad, projected, out, size, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """grad where the projection is not zero, of either sign; +0 elsewhere."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    bits = tl.load(projected + i, mask=inside, other=0)
    value = tl.load(grad + i, mask=inside, other=0)
    magnitude = bits << 1
    tl.store(out + i, tl.where(magnitude != 0, value, tl.zeros_like(value)), mask=inside)

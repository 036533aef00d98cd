"""engine/codegen/rows: what looks at whole rows: Softmax, LayerNormalization, and attention as one kernel.

In: float32 numbers whose last axis is what is normalised. Out: functions of tensors; a row's later passes find it in
the cache. Attention, softmax(scale * q k) v, never writes its scores to memory: some rows of queries at a time, or on a
GPU a softmax that goes on from block to block (Milakov and Gimelshein 2018, Dao et al. 2022). Sums may be taken in any
order, so that they are SIMD. Checked in float64 by test_rows.py.
"""

import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import pointwise, product
from trtlab.engine.codegen.pointwise import compiled, flat

SOFTMAX_OF_A_ROW = """
        top, total = int32(-2**31), f(0)
        for j in range(n):  # as integers, since a maximum of floats is no SIMD: those below 0 turned around
            top = max(top, int32(bits[j] ^ ((bits[j] >> 31) & 0x7fffffff)))
        most = int32(top ^ ((top >> 31) & 0x7fffffff)).view(f)
        for j in range(n):
            o[j] = exp_below((a[j] - most) * f(scale))
            total += o[j]
        part = f(1) / total
        for j in range(n):
            o[j] *= part
"""
"""The row `a`, whose `bits` they are, into `o`."""
SOFTMAX = f"""
def kernel(x, words, scale, y, n):
    for r in range(0, len(x), n):
        a, bits, o = x[r:r + n], words[r:r + n], y[r:r + n]
{SOFTMAX_OF_A_ROW}
"""
LAYER_NORM = """
def kernel(x, scale, shift, epsilon, y, n):
    for r in range(0, len(x), n):
        a, o, total, squares = x[r:r + n], y[r:r + n], f(0), f(0)
        for i in range(n):
            total += a[i]
        mean = total / f(n)
        for i in range(n):
            o[i] = a[i] - mean
            squares += o[i] * o[i]
        factor = f(1) / sqrt(squares / f(n) + f(epsilon))
        for i in range(n):
            o[i] = o[i] * factor * scale[i] + shift[i]
"""


def softmax(x: Tensor, out: Tensor) -> Tensor:
    """Of the last axis, into `out`."""
    numbers = flat(x.contiguous())
    return _run(SOFTMAX, out, numbers, numbers.view("int32"), 1.0)


def layer_norm(x: Tensor, scale: Any, shift: Any, epsilon: float, out: Tensor) -> Tensor:
    """Of the last axis, into `out`; scale and shift are arrays."""
    return _run(LAYER_NORM, out, flat(x.contiguous()), scale, shift, epsilon)


def _run(text: str, out: Tensor, *arguments: Any) -> Tensor:
    made = out.contiguous()
    compiled(text, fastmath="'contract', 'reassoc'")(*arguments, flat(made), out.shape[-1])
    return out if made is out else out.copy_(made)


# --- attention: queries [B, H, M, D], keys [B, H, D, N], values [B, H, N, E], to [B, H, M, E] -------------------------


def attention_source(rows: int, width: int, broad: int) -> str:
    """Source of the kernel for numba, with tiles of so many rows: panels `width` wide of keys, `broad` of values. k, v,
    y and w are arrays, q an address; the last axis of q, v and y lies dense."""
    softmax = textwrap.indent(SOFTMAX_OF_A_ROW, " " * 12)
    return f"""
def kernel(q, k, v, y, w, scale, b, h, m, n, depth, wide, qb, qh, qr, kb, kh, kd, kn, vb, vh, vr, yb, yh, yr):
    pitch, nothing, rest = -(-n // {width}) * {width}, zeros({max(width, broad)}, f), empty({rows * broad}, f)
    room = empty({rows} * pitch + 16, f)
    scores = room[-room.ctypes.data % 64 // 4:]
    words, keys, values, zero = scores.view(int32), w, w[depth * pitch:], nothing.ctypes.data
    for image in range(b):
        for head in range(h):
            pack(k[image * kb + head * kh:], keys, 1, depth, n, 0, kd, kn, {width})
            pack(v[image * vb + head * vh:], values, 1, n, wide, 0, vr, 1, {broad})
            for first in range(0, m, {rows}):
                i = max(0, min(first, m - {rows}))
                at, last = q + 4 * (image * qb + head * qh + i * qr), m - 1 - i
                for p in range(0, n, {width}):
                    panel, to = keys.ctypes.data + 4 * depth * p, scores.ctypes.data + 4 * p
                    score(at, 4 * qr, last, panel, depth, zero, to, 4 * pitch)
                for r in range({rows}):
                    o, bits = scores[r * pitch:r * pitch + n], words[r * pitch:r * pitch + n]
                    a = o
{softmax}
                for p in range(0, wide, {broad}):
                    out, direct = y[image * yb + head * yh + i * yr + p:], p + {broad} <= wide and m >= {rows}
                    to, step = (out.ctypes.data, yr) if direct else (rest.ctypes.data, {broad})
                    mean(scores.ctypes.data, 4 * pitch, m, values.ctypes.data + 4 * n * p, n, zero, to, 4 * step)
                    for r in range(0 if direct else min({rows}, m)):
                        for j in range(min({broad}, wide - p)):
                            out[r * yr + j] = rest[r * {broad} + j]
"""


def panels_size(depth: int, n: int, wide: int) -> int:
    """Numbers in the panels of one head's keys and values: the `room` of `attention`."""
    return product.panels_size(1, depth, n) + product.panels_size(1, n, wide)


def attention(n: int, wide: int, scale: float) -> Callable[..., Tensor]:
    """A function (q, k, v, y) in float32 on a CPU, for n keys and values of `wide` numbers."""
    width, broad = product.panel_width(n), product.panel_width(wide)
    rows = min(product.tile_rows(width), product.tile_rows(broad))
    head = product.tile_head(score=(width, rows), mean=(broad, rows)) + product.PACKING
    run = compiled(attention_source(rows, width, broad), head, "'contract', 'reassoc'")

    def launch(q: Tensor, k: Tensor, v: Tensor, y: Tensor, room: Tensor | None = None) -> Tensor:
        w = torch.empty(panels_size(q.shape[3], n, wide)) if room is None else room.view(torch.float32)
        arrays, strides = map(flat, (k, v, y, w)), (*q.stride()[:3], *k.stride(), *v.stride()[:3])
        run(q.data_ptr(), *arrays, scale, *q.shape[:3], n, q.shape[3], wide, *strides, *y.stride()[:3])
        return y

    return launch


# --- attention on a GPU, by Triton ------------------------------------------------------------------------------

TRITON = """@triton.jit
def kernel(q, k, v, y, h, m, n, depth, wide, qb, qh, qr, kb, kh, kd, kn, vb, vh, vr, yb, yh, yr,
           scale: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, D: tl.constexpr, E: tl.constexpr):
    image, head = tl.program_id(1) // h, tl.program_id(1) % h
    rows, d, e = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, D), tl.arange(0, E)
    inside = (rows[:, None] < m) & (d[None, :] < depth)
    queries = tl.load(q + image * qb + head * qh + rows[:, None] * qr + d[None, :], inside, 0.0)
    top, total = tl.full([BLOCK_M], float("-inf"), tl.float32), tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, E], tl.float32)
    for start in range(0, n, BLOCK_N):
        c = start + tl.arange(0, BLOCK_N)
        keys = tl.load(k + image * kb + head * kh + d[:, None] * kd + c[None, :] * kn,
                       (d[:, None] < depth) & (c[None, :] < n), 0.0)
        s = tl.where(c[None, :] < n, tl.dot(queries, keys, input_precision="ieee") * scale, float("-inf"))
        most = tl.maximum(top, tl.max(s, 1))
        p, shrink = tl.exp(s - most[:, None]), tl.exp(top - most)
        total, top = total * shrink + tl.sum(p, 1), most
        values = tl.load(v + image * vb + head * vh + c[:, None] * vr + e[None, :],
                         (c[:, None] < n) & (e[None, :] < wide), 0.0)
        sums = sums * shrink[:, None] + tl.dot(p.to(values.dtype), values, input_precision="ieee")
    place = y + image * yb + head * yh + rows[:, None] * yr + e[None, :]
    tl.store(place, (sums / total[:, None]).to(y.dtype.element_ty), (rows[:, None] < m) & (e[None, :] < wide))
"""
"""The top of each row and its total are of the blocks so far: what they stand for shrinks when a larger one comes."""
ROWS, COLUMNS = 32, 64


def attention_by_triton(scale: float) -> Callable[..., Tensor]:
    """A function (q, k, v, y) for floats on a GPU."""
    kernel = pointwise.triton_kernel(TRITON)

    def launch(q: Tensor, k: Tensor, v: Tensor, y: Tensor) -> Tensor:
        (b, h, m, depth), (n, wide) = q.shape, v.shape[2:]
        padded = [max(16, 1 << (size - 1).bit_length()) for size in (depth, wide)]
        strides = (*q.stride()[:3], *k.stride(), *v.stride()[:3], *y.stride()[:3])
        kernel[(-(-m // ROWS), b * h)](q, k, v, y, h, m, n, depth, wide, *strides, scale, ROWS, COLUMNS, *padded)
        return y

    return launch

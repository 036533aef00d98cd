"""engine/codegen/images: generated kernels over images whose channels lie side by side: Winograd, and maxima.

In: sizes, weights, pads. Out: functions of float32 tensors. `winograd` convolves 3x3 with a quarter of the products,
F(4x4, 3x3): a tile of 6x6 pixels becomes 36 numbers for each channel (B' d B), these are multiplied by the weights (36
products of matrices) and become 4x4 pixels (A' m A). Lavin and Gray, "Fast algorithms for convolutional neural
networks", 2016. A tile's sums share their input: NaN or infinity in one of its 36 pixels may be NaN in all 16.
`max_pool` goes down the rows of the window into a scratch row, then along it: 3x3 costs 6 comparisons instead of 9; in
Triton, for a GPU, each number reads its window (torch's kernel also writes where the maximum was: five times as long).
Checked in float64 and against torch by test_images.py.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen import product
from trtlab.engine.codegen.pointwise import by_layout, compiled, flat, launch_triton

B = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]]  # fmt: skip
A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
G24 = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # 24 G
TILES, WIDE = 48, 64
"""Tiles and channels at a time: what lies between the kernels stays in the caches."""

_PLACE = "b, i, j = tile // (down * along), tile // along % down * 4, tile % along * 4"


def spread() -> str:
    """Source: tiles from `start` on, of images padded to down x along whole ones, to v[36, block, depth]."""
    return f"""
def kernel(x, v, s, block, start, count, down, along, depth):
    t = s[{36 * WIDE}:]
    for tile in range(start, start + count):
        {_PLACE}
        for c in range(0, depth, {WIDE}):
            wide = min({WIDE}, depth - c)
            for r in range(6):
                p, o = ((b * (4 * down + 2) + i + r) * (4 * along + 2) + j) * depth + c, s[r * {6 * WIDE}:]
{_transform(B, "x[p + {0} * depth:]", 1)}
            for r in range(6):
                p, o = s[r * {WIDE}:], t[r * {WIDE}:]
{_transform(B, f"p[{{0}} * {6 * WIDE}:]", 6)}
            for r in range(36):
                p, o = t[r * {WIDE}:], v[(r * block + tile - start) * depth + c:]
                for k in range(wide):
                    o[k] = p[k]
"""


def collect(finish: Sequence[str], *, adds: bool) -> str:
    """Source: tiles from m[36, block, n] to images of h x w pixels, finished; z and y have strides."""
    other = "\n                    other = z[b * zb + (i + r) * zr + (j + q) * zp + c:]" if adds else ""
    return f"""
def kernel(m, bias, z, y, s, block, start, count, down, along, n, h, w, zb, zr, zp, yb, yr, yp):
    t = s[{36 * WIDE}:]
    for tile in range(start, start + count):
        {_PLACE}
        for c in range(0, n, {WIDE}):
            wide, biases = min({WIDE}, n - c), bias[c:]
            for r in range(6):
                p, o = (r * block + tile - start) * n + c, s[r * {WIDE}:]
{_transform(A, "m[p + {0} * 6 * block * n:]", 6)}
            for r in range(4):
                p, o = s[r * {6 * WIDE}:], t[r * {4 * WIDE}:]
{_transform(A, f"p[{{0}} * {WIDE}:]", 1)}
            for r in range(min(4, h - i)):
                for q in range(min(4, w - j)):
                    p, o = t[(r * 4 + q) * {WIDE}:], y[b * yb + (i + r) * yr + (j + q) * yp + c:]{other}
                    for k in range(wide):
                        v = p[k] + biases[k]
{product.ending(finish, "k", adds=adds)}
                        o[k] = v
"""


def _transform(matrix: Sequence[Sequence[int]], row: str, step: int) -> str:
    """Lines that apply the matrix to 6 rows of channels, to rows `step` apart in o."""
    sums = [" + ".join(f"f({n}) * d{q}" for q, n in enumerate(line) if n) for line in matrix]
    lines = [
        *(f"r{q} = {row.format(q)}" for q in range(6)),
        "for k in range(wide):",
        f"    {', '.join(f'd{q}' for q in range(6))} = {', '.join(f'r{q}[k]' for q in range(6))}",
        *(f"    o[k + {number * step * WIDE}] = {text}" for number, text in enumerate(sums)),
    ]
    return "\n".join(" " * 16 + line for line in lines)


def packed(weights: Tensor) -> Tensor:
    """Weights [N, C, 3, 3] as 36 packed matrices [C, N]: G g G', computed in float64."""
    g = torch.tensor(G24, dtype=torch.float64) / 24
    n, depth = weights.shape[:2]
    columns = weights.permute(2, 3, 1, 0).reshape(9, -1).double()
    return product.packed((torch.kron(g, g) @ columns).float().view(36, depth, n))


def winograd(
    weights: Tensor, bias: Any, finish: Sequence[str], pads: Sequence[tuple[int, int]], *, adds: bool
) -> Callable[..., Tensor]:
    """A function (x, out), or with another branch before `out`, of float32 tensors in NHWC order; `room` are bytes for
    the numbers of `scratch_sizes`."""
    n, depth = weights.shape[:2]
    first, last = compiled(spread()), compiled(collect(finish, adds=adds))
    multiply = product.kernel([], product.panel_width(n), adds=False)
    panels, zeros = packed(weights), torch.zeros(n).numpy()

    def make(x: Tensor, *rest: Tensor) -> Callable[..., Tensor]:
        numbers, parts = _numbers(x, rest[0], rest[-1], (n, depth), pads), scratch_sizes(x.shape, n, pads)
        down, along, tiles, block = _tiles(x.shape, pads)
        size = len(x), 4 * down + 2, 4 * along + 2, depth
        inside = [slice(before, before + length) for (before, _), length in zip(pads, x.shape[2:], strict=True)]
        sizes = depth, n, block * depth, depth, 0, 0, block * n, n

        def launch(x: Tensor, *rest: Tensor, room: Tensor | None = None) -> Tensor:
            space = torch.empty(sum(parts)) if room is None else room.view(torch.float32)
            around, v, m, s = space[: sum(parts)].split(parts)
            around[: math.prod(size)].view(size).permute(0, 3, 1, 2).zero_()[:, :, *inside] = x
            (padded, spreads, sums, scratch), out = (t.numpy() for t in (around, v, m, s)), flat(rest[-1])
            others = flat(rest[0]) if adds else out
            for start in range(0, tiles, block):
                count = min(block, tiles - start)
                first(padded, spreads, scratch, block, start, count, down, along, depth)
                multiply(v.data_ptr(), panels.data_ptr(), zeros, sums, sums, 36, count, *sizes)
                last(sums, bias, others, out, scratch, block, start, count, down, along, n, *numbers)
            return rest[-1]

        return launch

    return by_layout(make)


def _tiles(shape: Sequence[int], pads: Sequence[tuple[int, int]]) -> tuple[int, int, int, int]:
    """Tiles down and along an image, of all images, and at a time."""
    down, along = (-(-(size + before + after - 2) // 4) for size, (before, after) in zip(shape[2:], pads, strict=True))
    return down, along, shape[0] * down * along, min(TILES, shape[0] * down * along)


def _numbers(
    x: Tensor, z: Tensor, y: Tensor, channels: tuple[int, int], pads: Sequence[tuple[int, int]]
) -> tuple[int, ...]:
    """Sizes and strides of the result for the kernel, which reads and writes without looking."""
    h, w = (size + before + after - 2 for size, (before, after) in zip(x.shape[2:], pads, strict=True))
    fits = y.shape == z.shape == (len(x), channels[0], h, w) and x.shape[1] == channels[1] and y.numel()
    dense = channels[0] == 1 or y.stride(1) == z.stride(1) == 1
    if not fits or not dense or {t.dtype for t in (x, y, z)} != {torch.float32}:
        raise ValueError(f"{tuple(x.shape)} and {tuple(z.shape)} do not make {tuple(y.shape)} in float32, NHWC")
    return h, w, *(t.stride(d) for t in (z, y) for d in (0, 2, 3))


def scratch_sizes(shape: Sequence[int], n: int, pads: Sequence[tuple[int, int]]) -> list[int]:
    """How many numbers lie between the kernels: the padded image, then what is multiplied, products, and sums; of
    images [N, C, H, W] with n results, each at a multiple of 16."""
    down, along, _, block = _tiles(shape, pads)
    image = shape[0] * (4 * down + 2) * (4 * along + 2) * shape[1]
    return [size + -size % 16 for size in (image, 36 * block * shape[1], 36 * block * n, 72 * WIDE)]


MAXIMA = """
def kernel(x, y, scratch, n, h, w, c, oh, ow, kh, kw, sh, sw, top, left):
    for i in range(n * oh):
        scratch[:] = -inf
        for d in range(kh):
            p = (i // oh * h + min(max(i % oh * sh + d - top, 0), h - 1)) * w * c
            row = x[p:p + w * c]
            for k in range(w * c):
                m, v = scratch[k], row[k]
                scratch[k] = m if m > v or m != m else v
        for j in range(ow):
            o = y[(i * ow + j) * c:]
            o[:c] = -inf
            for d in range(kw):
                row = scratch[min(max(j * sw + d - left, 0), w - 1) * c:]
                for k in range(c):
                    m, v = o[k], row[k]
                    o[k] = m if m > v or m != m else v
"""
"""For n images of h x w pixels of c channels, to oh x ow. So written, NaN stays NaN. Windows are cut off at the border
by reading its last pixel again: a maximum does not mind."""


def triton_maxima(
    window: Sequence[int], strides: Sequence[int], before: Sequence[int], image: Sequence[int], result: Sequence[int]
) -> str:
    """Triton source for images of (channels, rows, columns) and results of (rows, columns)."""
    (c, h, w), (oh, ow) = image, result
    lines = [
        "@triton.jit", "def kernel(x, y, n, BLOCK: tl.constexpr):",
        "    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "    inside = i < n",
        f"    row, column = i // {c * ow} % {oh} * {strides[0]}, i // {c} % {ow} * {strides[1]}",
        f"    image = x + (i // {c * ow * oh} * {c * h * w} + i % {c})",
    ]  # fmt: skip
    for a, b in itertools.product(range(window[0]), range(window[1])):
        down = f"tl.minimum(tl.maximum(row + {a - before[0]}, 0), {h - 1})"
        along = f"tl.minimum(tl.maximum(column + {b - before[1]}, 0), {w - 1})"
        lines += [f"    v = tl.load(image + ({down} * {w} + {along}) * {c}, inside)"]
        lines += ["    m = tl.where((m > v) | (m != m), m, v)" if a or b else "    m = v"]
    return "\n".join([*lines, "    tl.store(y + i, m, inside)"]) + "\n"


def max_pool(window: Sequence[int], strides: Sequence[int], before: Sequence[int]) -> Callable[..., Tensor]:
    """A function (x, out) of tensors [N, C, H, W] in NHWC order, float32 on a CPU; there `room` are bytes for w * c
    numbers."""
    texts = functools.cache(functools.partial(triton_maxima, window, strides, before))

    def run(x: Tensor, out: Tensor, *, room: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        known = x.dtype == out.dtype and (x.is_cuda or x.dtype == torch.float32)
        fits = known and x.shape[:2] == out.shape[:2] and x.numel() > 0
        if not fits or not out.is_contiguous(memory_format=torch.channels_last):
            raise ValueError(f"{tuple(x.shape)} does not pool to {tuple(out.shape)} in {x.dtype}, NHWC")
        n, c, h, w = x.shape
        if x.is_cuda:
            launch_triton(texts(x.shape[1:], out.shape[2:]), (x, out), out.numel())
        else:
            row = (torch.empty(w * c) if room is None else room.view(torch.float32)).numpy()[: w * c]
            sizes = n, h, w, c, *out.shape[2:], *window, *strides, *before
            compiled(MAXIMA)(flat(x), flat(out), row, *sizes)
        return out

    return run

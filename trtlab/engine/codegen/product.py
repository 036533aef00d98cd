"""engine/codegen/product: a generated kernel for matrix products, finished while the numbers are at hand.

In: rows [M, K], columns [K, N] packed in panels, a bias, maybe another branch, lines of an epilogue. Out: a function
that keeps a tile of sums, some rows high and one panel wide, in vector registers, then finishes and stores it. One
compiled kernel serves all sizes. Checked against torch by the builder, and in float64 by test_product.py.
"""

import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.codegen.pointwise import by_layout, compiled, flat


@functools.cache
def _registers() -> tuple[int, int]:
    """(numbers in a vector, vectors of sums): 32 vectors of 16 with AVX-512, else 16 of 8; some hold operands."""
    import llvmlite.binding as llvm

    told = os.environ.get("NUMBA_CPU_FEATURES")  # those of another machine
    wide = "+avx512f" in told if told is not None else llvm.get_host_cpu_features().get("avx512f")
    return (16, 24) if wide else (8, 12)


SPEED = {16: {64: 1.0, 48: 1.0, 32: 0.98, 16: 0.78}, 8: {24: 1.0, 16: 0.95, 8: 0.55}}
"""Numbers in a vector -> columns of a panel -> FLOP/s of full panels, of the fastest's: measured on one thread of a
Zen 4. With 16 registers, 12 sums, 3 columns and a factor fill them; 4 columns are one too many."""


@functools.cache
def panel_width(n: int) -> int:
    """Columns in a panel, up to 4 vectors: those with which n columns take least, the end of the last one included."""
    speed = SPEED[_registers()[0]]
    return min(speed, key=lambda width: -(-n // width) * width / speed[width])


def tile_rows(width: int) -> int:
    """Rows of a tile whose sums fill the registers."""
    return _registers()[1] * _registers()[0] // width


@functools.cache
def tile_of(width: int, high: int, less: int = 0) -> Any:
    """What numba has no words for, in LLVM's: sums[high, width] = start[width] + x[high, depth] @ panel, all sums in
    registers. `x`, `panel`, `start` and `sums` are addresses, `stride` and `pitch` are bytes from row to row of x and
    of sums; rows of x behind the last are the last again. The panel's last `less` vectors are left out."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    lanes = _registers()[0]
    full, i64, vector = width // lanes, ir.IntType(64), ir.VectorType(ir.FloatType(), lanes)
    vectors, nothing = full - less, ir.Constant(vector, ir.Undefined)
    everywhere, first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes), ir.IntType(32)(0)

    def body(_: Any, b: Any, __: Any, arguments: Any) -> None:
        x, stride, last, panel, depth, start, out, pitch = arguments

        def at(base: Any, offset: Any, kind: Any) -> Any:
            return b.inttoptr(b.add(base, offset), kind.as_pointer())

        firsts = [b.load(at(start, i64(v * 4 * lanes), vector), align=4) for v in range(vectors)]
        clamped = [b.select(b.icmp_signed("<", i64(r), last), i64(r), last) for r in range(high)]
        rows, before, loop, after = (
            [b.add(x, b.mul(r, stride)) for r in clamped], b.block,
            b.append_basic_block("sum"), b.append_basic_block("store"),
        )  # fmt: skip
        b.branch(loop)
        b.position_at_end(loop)
        k, tile = b.phi(i64), [b.phi(vector) for _ in range(len(rows) * vectors)]
        columns = [
            b.load(at(panel, b.mul(b.add(b.mul(k, i64(full)), i64(v)), i64(4 * lanes)), vector), align=4)
            for v in range(vectors)
        ]
        new: list[Any] = []
        for row in rows:
            number = b.load(at(row, b.mul(k, i64(4)), ir.FloatType()))
            factor = b.shuffle_vector(b.insert_element(nothing, number, first), nothing, everywhere)
            products = [b.fmul(factor, c, flags=("contract",)) for c in columns]
            new += [b.fadd(p, s, flags=("contract",)) for p, s in zip(products, tile[len(new) :], strict=False)]
        following = b.add(k, i64(1))
        for value, start, then in zip([k, *tile], [i64(0), *firsts * high], [following, *new], strict=True):
            value.add_incoming(start, before)
            value.add_incoming(then, loop)
        b.cbranch(b.icmp_signed("<", following, depth), loop, after)
        b.position_at_end(after)
        for number, total in enumerate(new):
            row, v = divmod(number, vectors)
            b.store(total, at(out, b.add(b.mul(i64(row), pitch), i64(v * 4 * lanes)), vector), align=4)

    signature = types.none(*[types.int64] * 8)
    return intrinsic(lambda _, x, stride, last, panel, depth, start, out, pitch: (signature, body))  # noqa: ARG005


def source(finish: Sequence[str], width: int, *, adds: bool) -> str:
    """Source for a batch of y[m, n] = x[m, k] @ columns + bias, finished: lines that change `v`, a number of it, and
    may read `u`, of another branch z. x, y and z have strides, the last one is 1; x and w are addresses. The last rows
    take a tile of half the height where that is enough, the last columns one that is a vector narrower. Where nothing
    is left to do, a tile goes into y as it is."""
    rows = tile_rows(width)
    other = "\n                    other = z[b * zb + (i + r) * zr + p:]" if adds else ""
    direct = f"wide == {width} and m >= high" if not finish and not adds else "False"
    return f"""
def kernel(x, w, bias, z, y, batch, m, depth, n, xb, xr, zb, zr, yb, yr):
    room, start = empty({rows * width + 16}, f), zeros({width}, f)
    sums = room[-room.ctypes.data % 64 // 4:]
    for b in range(batch):
        for p in range(0, n, {width}):
            panel, wide = w + 4 * depth * (b * -(-n // {width}) * {width} + p), min({width}, n - p)
            start[:wide] = bias[p:p + wide]
            for first in range(0, m, {rows}):
                high = {rows} if m - first > {rows // 2} else {rows // 2}
                i = max(0, min(first, m - high))
                direct = {direct}
                to = y.ctypes.data + 4 * (b * yb + i * yr + p) if direct else sums.ctypes.data
                pitch = 4 * yr if direct else {4 * width}
                at, last = x + 4 * (b * xb + i * xr), m - 1 - i
                if high == {rows} and wide <= {width - _registers()[0]}:
                    thin(at, 4 * xr, last, panel, depth, start.ctypes.data, to, pitch)
                elif high == {rows}:
                    tile(at, 4 * xr, last, panel, depth, start.ctypes.data, to, pitch)
                else:
                    half(at, 4 * xr, last, panel, depth, start.ctypes.data, to, pitch)
                for r in range(0 if direct else min(high, m)):
                    row, out = sums[r * {width}:], y[b * yb + (i + r) * yr + p:]{other}
                    for j in range(wide):
                        v = row[j]
{ending(finish, "j", adds=adds)}
                        out[j] = v
"""


def ending(finish: Sequence[str], index: str, *, adds: bool) -> str:
    """The innermost lines of a kernel that finishes number `index` of a row: those of the epilogue."""
    lines = [f"u = other[{index}]"] if adds else []
    return "\n".join(" " * 24 + line for line in [*lines, *finish])


@functools.cache
def _version() -> str:
    return hashlib.sha256(inspect.getsource(tile_of).encode()).hexdigest()


def kernel(finish: Sequence[str], width: int, *, adds: bool) -> Callable[..., None]:
    """That source, compiled; again where the tile has changed, which numba does not look at."""
    rows, thin = tile_rows(width), int(width > _registers()[0])
    head = tile_head(tile=(width, rows), half=(width, rows // 2), thin=(width, rows, thin))
    return compiled(source(finish, width, adds=adds), head)


def tile_head(**tiles: tuple[int, ...]) -> str:
    """What a kernel's source needs to call these tiles, each a name and the arguments of `tile_of`."""
    head = f"from {__name__} import tile_of  # {_registers()} {_version()}\n"
    return head + "".join(f"{name} = tile_of{shape}\n" for name, shape in tiles.items())


PACK = "\n".join(
    [
        "def kernel(c, w, batch, depth, n, cb, ck, cn, width):",
        "    for b in range(batch):",
        "        for p in range(0, n, width):",
        "            panel, wide = w[(b * -(-n // width) * width + p) * depth:], min(width, n - p)",
        "            for k in range(depth if cn == 1 else 0):",
        "                row, numbers = panel[k * width:], c[b * cb + k * ck + p:]",
        "                for j in range(wide):",
        "                    row[j] = numbers[j]",
        "            for j in range(0, wide if cn != 1 else 0, 8):",  # 8 columns at a time, in the end the last again
        *(f"                c{r} = c[b * cb + min(p + j + {r}, n - 1) * cn:]" for r in range(8)),
        "                for k in range(depth):",
        "                    row = panel[k * width + j:]",
        *(f"                    row[{r}] = c{r}[k]" for r in range(8)),
    ]
)


PACKING = "\n@njit\n" + PACK.replace("def kernel", "def pack") + "\n"
"""The same, for sources of other kernels to call."""


def panels_size(batch: int, depth: int, n: int) -> int:
    """Numbers in the panels of columns [batch, depth, n]."""
    width = panel_width(n)
    return batch * depth * -(-n // width) * width


def packed(columns: Tensor, room: Tensor | None = None) -> Tensor:
    """Columns [batch, K, N] as panels, for `generated`, in the bytes of `room` if there is one. What fills up the last
    panel is never looked at."""
    if 1 not in columns.stride()[1:]:
        columns = columns.contiguous()
    batch, depth, n = columns.shape
    size = panels_size(batch, depth, n)
    panels = torch.empty(size) if room is None else room.view(torch.float32)[:size]
    compiled(PACK)(flat(columns), panels.numpy(), batch, depth, n, *columns.stride(), panel_width(n))
    return panels


def generated(
    finish: Sequence[str], rows: Callable[[Tensor], Tensor], bias: Any, *, adds: bool = False
) -> Callable[..., Tensor]:
    """A function (panels, x, out), or with another branch before `out`; bias is an array, of a number for each column;
    `rows` shows a tensor as a batch of rows, [batch, M, numbers], without a copy."""
    run = kernel(finish, panel_width(len(bias)), adds=adds)

    def make(panels: Tensor, *tensors: Tensor) -> Callable[..., Tensor]:
        numbers = _numbers(panels, len(bias), *(_shown(rows, t) for t in (tensors[0], tensors[1], tensors[-1])))

        def launch(panels: Tensor, x: Tensor, *rest: Tensor) -> Tensor:
            out = flat(rest[-1])
            run(x.data_ptr(), panels.data_ptr(), bias, flat(rest[0]) if adds else out, out, *numbers)
            return rest[-1]

        return launch

    return by_layout(make)


def _shown(rows: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """The tensor as rows. ValueError for a copy: the kernel would read the original by the copy's strides."""
    shown = rows(tensor)
    if shown.data_ptr() != tensor.data_ptr():
        raise ValueError(f"strides {tensor.stride()} of {tuple(tensor.shape)} do not go into rows")
    return shown


def _numbers(panels: Tensor, n: int, x: Tensor, z: Tensor, y: Tensor) -> tuple[int, ...]:
    """Sizes and strides for the kernel, which reads and writes without looking."""
    batch, m, depth = x.shape
    packed = len(panels) == batch * depth * (n + -n % panel_width(n))
    floats = {t.dtype for t in (panels, x, y, z)} == {torch.float32}
    for t in (x, z, y):
        if t.stride(-1) != 1 != t.shape[-1]:
            raise ValueError(f"a row of {t.shape[-1]} numbers lies {t.stride(-1)} apart, not side by side")
    if not (packed and floats and depth and y.numel() and z.shape == y.shape == (batch, m, n)):
        raise ValueError(f"{tuple(x.shape)} and {tuple(z.shape)} do not go into {tuple(y.shape)} in float32")
    return batch, m, depth, n, *(s for t in (x, z, y) for s in t.stride()[:2])

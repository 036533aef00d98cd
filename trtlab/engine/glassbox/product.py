"""engine/glassbox/product: a generated kernel for matrix products, finished while the numbers are at hand.

In: rows [M, K], columns [K, N] packed in panels 64 wide, a bias, maybe another branch, an activation's text. Out: source
that computes 6 rows of one panel at a time, 4 products for each number of the sum it loads. One compiled kernel serves
all sizes. Checked against torch by the builder, and in float64 by tests/engine/glassbox/test_product.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trtlab.engine.glassbox.pointwise import compiled, flat

ROWS, DEPTH, WIDE = 6, 4, 64
"""Rows at a time, steps of the sum at a time, columns in a panel: 24 factors and a vector of sums fit the registers."""
Finish = str
"""An expression of {0}, the sum."""


def source(finish: Finish, *, adds: bool) -> str:
    """Source for a batch of y[m, n] = finish(x[m, k] @ w + bias + z); x, y and z have strides, the last one is 1."""
    lines = [
        "def kernel(x, w, bias, z, y, batch, m, depth, n, xb, xr, zb, zr, yb, yr):",
        f"    room = empty({ROWS * WIDE + 16}, f)",
        "    sums = room[-room.ctypes.data % 64 // 4:]",
        f"    panels = -(-n // {WIDE}) * {WIDE}",
        "    for b in range(batch):",
        f"        for p in range(0, n, {WIDE}):",
        f"            for first in range(0, m, {ROWS}):",
        f"                i = max(0, min(first, m - {ROWS}))",  # the last rows once more instead of fewer
        *(f"                x{r} = x[b * xb + min(i + {r}, m - 1) * xr:]" for r in range(ROWS)),
        "                panel = w[(b * panels + p) * depth:]",
        "                sums[:] = 0",
        *_sum(DEPTH, "0", f"depth - {DEPTH - 1}"),
        *_sum(1, f"depth // {DEPTH} * {DEPTH}", "depth"),
        f"                wide, biases = min({WIDE}, n - p), bias[p:]",
        f"                for r in range(min({ROWS}, m)):",
        f"                    row = sums[r * {WIDE}:]",
        "                    o = y[b * yb + (i + r) * yr + p:]",
        *(["                    other = z[b * zb + (i + r) * zr + p:]"] if adds else []),
        "                    for j in range(wide):",
        f"                        v = row[j] + biases[j]{' + other[j]' if adds else ''}",
        f"                        o[j] = {finish.format('v')}",
    ]
    return "\n".join(lines) + "\n"


def _sum(depth: int, start: str, stop: str) -> list[str]:
    """The loop that adds `depth` products at a time to each of 6 rows of sums."""
    each = [(r, d) for r in range(ROWS) for d in range(depth)]
    products = [" + ".join(f"f{r}{d} * c{d}" for d in range(depth)) for r in range(ROWS)]
    return [
        f"                for k in range({start}, {stop}, {depth}):",
        *(f"                    f{r}{d} = x{r}[k + {d}]" for r, d in each),
        f"                    columns = panel[k * {WIDE}:]",
        f"                    for j in range({WIDE}):",
        *(f"                        c{d} = columns[j + {d * WIDE}]" for d in range(depth)),
        *(f"                        sums[j + {r * WIDE}] += {text}" for r, text in enumerate(products)),
    ]


PACK = f"""def kernel(c, w, batch, depth, n, cb, ck, cn):
    w[:] = 0
    for b in range(batch):
        for p in range(0, n, {WIDE}):
            panel = w[(b * -(-n // {WIDE}) * {WIDE} + p) * depth:]
            wide = min({WIDE}, n - p)
            if cn == 1:
                for k in range(depth):
                    panel[k * {WIDE}:k * {WIDE} + wide] = c[b * cb + k * ck + p:b * cb + k * ck + p + wide]
            else:
                for j in range(wide):
                    for k in range(depth):
                        panel[k * {WIDE} + j] = c[b * cb + k * ck + (p + j) * cn]
"""


def packed(columns: Tensor) -> Any:
    """Columns [batch, K, N] of any strides as panels, an array for `generated`."""
    batch, depth, n = columns.shape
    panels = torch.empty(batch * depth * -(-n // WIDE) * WIDE).numpy()
    compiled(PACK)(flat(columns), panels, batch, depth, n, *columns.stride())
    return panels


def generated(finish: str, rows: Callable[[Tensor], Tensor], *, adds: bool = False) -> Callable[..., Tensor]:
    """A function (panels, bias, x, out), or with another branch before `out`; `rows` shows a tensor as a batch of rows,
    [batch, M, numbers], without a copy. What fits is found out once for tensors of the same layout."""
    kernel, known = compiled(source(finish, adds=adds)), dict[Any, tuple[int, ...]]()

    def run(panels: Any, bias: Any, x: Tensor, *rest: Tensor) -> Tensor:
        z, y = rest[0], rest[-1]
        key = panels.size, *[(t.shape, t.stride(), t.dtype) for t in (x, *rest)]
        if key not in known:
            known[key] = _numbers(panels, bias, *map(rows, (x, z, y)))
        out = flat(y)
        kernel(flat(x), panels, bias, flat(z) if adds else out, out, *known[key])
        return y

    return run


def _numbers(panels: Any, bias: Any, x: Tensor, z: Tensor, y: Tensor) -> tuple[int, ...]:
    """Sizes and strides for the kernel, which reads and writes without looking."""
    (batch, m, depth), n = x.shape, y.shape[-1]
    sizes = panels.size == batch * depth * -(-n // WIDE) * WIDE and bias.size == n
    dense = all(t.stride(-1) == 1 or t.shape[-1] == 1 for t in (x, y, z)) and {x.dtype, y.dtype, z.dtype} == {torch.float32}
    if not sizes or not dense or y.shape != (batch, m, n) or z.shape != y.shape or not y.numel():
        raise ValueError(f"{tuple(x.shape)} and {tuple(z.shape)} do not go into {tuple(y.shape)} in float32")
    return batch, m, depth, n, *(s for t in (x, z, y) for s in t.stride()[:2])

"""engine/codegen/pooling: a generated kernel for the maximum of windows, over images whose channels lie side by side.

In: window, strides, pads. Out: source of two passes per row of the result: down the rows of the window into a scratch
row, then along it. A 3x3 window costs 4 comparisons instead of 8. Windows are cut off at the border by reading its
last pixel again: a maximum does not mind. Checked against torch by the builder, and by ONNX's suite.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trtlab.engine.codegen.pointwise import compiled, flat


def source(window: Sequence[int], strides: Sequence[int], before: Sequence[int]) -> str:
    """Source for N images of h x w pixels of c channels, to oh x ow. So written, NaN stays NaN."""
    down, along = ([f"r{d}" for d in range(size)] for size in window)
    lines = ["def kernel(x, y, scratch, n, h, w, c, oh, ow):", "    for b in range(n):", "        for i in range(oh):"]
    for d, row in enumerate(down):
        lines += [f"            p = (b * h + min(max(i * {strides[0]} + {d - before[0]}, 0), h - 1)) * w * c"]
        lines += [f"            {row} = x[p:p + w * c]"]
    lines += ["            for k in range(w * c):", *_largest(down, "scratch", " " * 16)]
    lines += [
        "            for j in range(ow):",
        "                p = ((b * oh + i) * ow + j) * c",
        "                o = y[p:p + c]",
    ]
    for d, pixel in enumerate(along):
        lines += [f"                p = min(max(j * {strides[1]} + {d - before[1]}, 0), w - 1) * c"]
        lines += [f"                {pixel} = scratch[p:p + c]"]
    lines += ["                for k in range(c):", *_largest(along, "o", " " * 20)]
    return "\n".join(lines) + "\n"


def _largest(names: Sequence[str], target: str, indent: str) -> list[str]:
    lines = [f"{indent}m = {names[0]}[k]"]
    for name in names[1:]:
        lines += [f"{indent}v = {name}[k]", f"{indent}m = m if m > v or m != m else v"]
    return [*lines, f"{indent}{target}[k] = m"]


def generated(window: Sequence[int], strides: Sequence[int], before: Sequence[int]) -> Callable[..., Tensor]:
    """A function (x, out) of float32 tensors [N, C, H, W] in NHWC order; `room` are bytes for w * c numbers."""
    kernel = compiled(source(window, strides, before))

    def run(x: Tensor, out: Tensor, *, room: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        fits = x.shape[:2] == out.shape[:2] and {x.dtype, out.dtype} == {torch.float32} and x.numel() > 0
        if not fits or not out.is_contiguous(memory_format=torch.channels_last):
            raise ValueError(f"{tuple(x.shape)} does not pool to {tuple(out.shape)} in float32, NHWC")
        n, c, h, w = x.shape
        row = torch.empty(w * c) if room is None else room.view(torch.float32)
        kernel(flat(x), flat(out), row.numpy(), n, h, w, c, *out.shape[2:])
        return out

    return run

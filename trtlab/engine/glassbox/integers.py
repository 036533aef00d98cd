"""engine/glassbox/integers: convolutions and products of INT8 codes: exact sums, one factor a channel, then floats.

In: a `Call` of the codes of x and of w, both symmetric, and the product of their scales. Out: `INT8_CONV` and
`INT8_MATMUL`, tactic by tactic. Checked by ONNX Runtime running the same Q/DQ, in tests/engine/glassbox/test_integers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trtlab.engine.glassbox.epilogues import finished, weights_of
from trtlab.engine.glassbox.kernels import Call, Kernel, Tactic
from trtlab.engine.glassbox.operators import Window, conv, window

MOST = 128 * 128
"""The largest product of two codes."""


def _bound(sums_of: Callable[[Call], Kernel], *, writes_out: bool = False) -> Callable[[Call], Kernel]:
    """A tactic: sums of products of codes, times the scales, in the result's type; then the epilogue."""

    def bind(call: Call) -> Kernel:
        sums, scale, dtype = sums_of(call), call.weight(2), getattr(torch, call.attributes["dtype"])
        if scale is None:
            raise ValueError("the scales of this kernel are not in the plan")
        if writes_out:
            return finished(lambda *tensors: _scaled(sums(*tensors[:-1]), scale, tensors[-1]), call)
        return finished(lambda *codes: (sums(*codes) * scale).to(dtype), call)

    return bind


def _scaled(sums: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """Into `out`; torch would give a result of another size other memory."""
    if sums.shape != out.shape:
        raise ValueError(f"a product of shape {tuple(sums.shape)} does not go into {tuple(out.shape)}")
    return torch.mul(sums, scale, out=out)


def _wide(call: Call, terms: int | None) -> torch.dtype:
    """A float type that holds every sum of so many products exactly, in any order: float32 up to 2^24. On a GPU, where
    convolutions may take ways through other numbers, and for unknown sizes, float64."""
    known = terms is not None and call.device.name == "cpu" and terms * MOST <= 1 << 24
    return torch.float32 if known else torch.float64


def _conv_in_floats(call: Call) -> Kernel:
    """Any convolution: floats that hold all sums."""
    w, how = weights_of(call), {name: value for name, value in call.attributes.items() if name != "dtype"}
    wide = _wide(call, math.prod(w.shape[1:]))
    filters = w.to(wide).contiguous(memory_format=torch.channels_last) if w.ndim == 4 else w.to(wide)
    return lambda x: conv(x.to(wide), filters, **how)


def _conv_fits_integers(call: Call) -> bool:
    w, x = call.weight(1), call.shapes[0]
    if w is None or w.ndim != 4 or x is None or call.attributes.get("group", 1) != 1:
        return False
    return _multiplies(call, x[0] * math.prod(_window_of(call).counts), *w.flatten(1).t().shape)


def _window_of(call: Call) -> Window:
    a = {name: value for name, value in call.attributes.items() if name not in ("group", "dtype")}
    return window((call.shapes[0] or ())[2:], weights_of(call).shape[2:], a)


def _conv_in_integers(call: Call) -> Kernel:
    """Every window is a row of codes: one product of matrices, whose sums are INT32."""
    w, at = weights_of(call), _window_of(call)
    columns = w.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
    (top, bottom), (left, right) = at.pairs
    (height, width), (down, across) = (
        [(k - 1) * d + 1 for k, d in zip(at.kernel, at.dilations, strict=True)],
        at.dilations,
    )

    def run(x: Tensor) -> Tensor:
        image = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom))
        windows = image.unfold(1, height, at.strides[0]).unfold(2, width, at.strides[1])[..., ::down, ::across]
        rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, len(columns))
        return torch._int_mm(rows, columns).view(*windows.shape[:3], -1).permute(0, 3, 1, 2)

    return run


def _multiplies(call: Call, rows: int, terms: int, columns: int) -> bool:
    """Whether torch has INT8 products of this size here: on a GPU tensor cores ask for more than 16 rows, and for
    multiples of 8."""
    return rows * terms * columns > 0 and (call.device.name == "cpu" or (rows > 16 and terms % 8 == columns % 8 == 0))


def _matmul_in_floats(call: Call) -> Kernel:
    w, shape = call.weight(1), call.shapes[1]
    wide = _wide(call, None if not shape else shape[-2] if len(shape) > 1 else shape[0])
    if w is None:
        return lambda a, b: torch.matmul(a.to(wide), b.to(wide))
    matrix = w.to(wide)
    return lambda x: torch.matmul(x.to(wide), matrix)


def _matmul_fits_integers(call: Call) -> bool:
    w, x = call.weight(1), call.shapes[0]
    known = w is not None and w.ndim == 2 and call.free == [0] and x is not None and len(x) > 1
    return known and _multiplies(call, math.prod((x or ())[:-1]), *weights_of(call).shape)


def _matmul_in_integers(call: Call) -> Kernel:
    w = weights_of(call).contiguous()
    return lambda x: torch._int_mm(x.reshape(-1, len(w)).contiguous(), w).view(*x.shape[:-1], -1)


INT8_CONV: dict[str, Tactic] = {
    "exact": Tactic(bind=_bound(_conv_in_floats)),
    "int8": Tactic(bind=_bound(_conv_in_integers, writes_out=True), fits=_conv_fits_integers, writes_out=True),
}
INT8_MATMUL: dict[str, Tactic] = {
    "exact": Tactic(bind=_bound(_matmul_in_floats)),
    "int8": Tactic(bind=_bound(_matmul_in_integers, writes_out=True), fits=_matmul_fits_integers, writes_out=True),
}
"""The first works wherever torch does."""

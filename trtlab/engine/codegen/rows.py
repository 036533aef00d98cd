"""engine/codegen/rows: Softmax and LayerNormalization of dense rows, one kernel each.

In: float32 numbers whose last axis is what is normalised. Out: functions of tensors; a row's later passes find it in
the cache. Sums may be taken in any order, so that they are SIMD. Checked in float64 by test_rows.py.
"""

from typing import Any

from torch import Tensor

from trtlab.engine.codegen.pointwise import compiled, flat

SOFTMAX = """
def kernel(x, words, y, n):
    for r in range(0, len(x), n):
        a, bits, o, top, total = x[r:r + n], words[r:r + n], y[r:r + n], int32(-2**31), f(0)
        for i in range(n):  # as integers, since a maximum of floats is no SIMD: those below 0 turned around
            top = max(top, int32(bits[i] ^ ((bits[i] >> 31) & 0x7fffffff)))
        most = int32(top ^ ((top >> 31) & 0x7fffffff)).view(f)
        for i in range(n):
            o[i] = exp(a[i] - most)
            total += o[i]
        part = f(1) / total
        for i in range(n):
            o[i] *= part
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
    return _run(SOFTMAX, out, numbers, numbers.view("int32"))


def layer_norm(x: Tensor, scale: Any, shift: Any, epsilon: float, out: Tensor) -> Tensor:
    """Of the last axis, into `out`; scale and shift are arrays."""
    return _run(LAYER_NORM, out, flat(x.contiguous()), scale, shift, epsilon)


def _run(text: str, out: Tensor, *arguments: Any) -> Tensor:
    made = out.contiguous()
    compiled(text, fastmath="'contract', 'reassoc'")(*arguments, flat(made), out.shape[-1])
    return out if made is out else out.copy_(made)

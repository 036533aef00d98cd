"""numeric/blocks: rows of numbers that share a scale, to scales and codes in one pass.

In: a `BlockFacts` and a float32 array with one block per row. Out: float32 scales and codes. numba runs the lines
below on large arrays, NumPy on small ones, with the same bits; `quantize` cuts arrays of any shape into rows.
"""

import functools
import math
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from trtlab.numeric import codec
from trtlab.numeric.describe import BlockFacts, IntegerFacts, Rounding
from trtlab.numeric.kernels import decode_lines, encode_lines, fits

Array = npt.NDArray[Any]
ScaleRounding = Literal["floor", "ceil"]

NOT_FINITE = (
    "a scale needs finite float32 values: got NaN or infinity; replace them first, for example with "
    "numpy.nan_to_num, or with numpy.clip"
)
_UNROLLED = 256  # rows up to this length get a kernel of their own


def encode_rows(
    fmt: BlockFacts,
    rows: Array,
    tensor_scale: np.float32 | None = None,
    scale_rounding: ScaleRounding = "floor",
    rounding: Rounding = "nearest_even",
    generator: np.random.Generator | None = None,
) -> tuple[Array, Array]:
    """Scales (one column) and codes of float32 rows; ValueError for NaN and infinity. `quantize` has the rules."""
    is_compiled = rows.size >= codec.COMPILED_FROM
    size = rows.shape[1] if rows.shape[1] <= _UNROLLED else None
    kernel = _kernel(fmt, size, scale_rounding, compiled=is_compiled)
    scales, codes = np.ones((len(rows), 1), np.float32), np.empty(rows.shape, fmt.code_dtype)
    bits, tensor = np.ascontiguousarray(rows).view(np.uint32), tensor_scale or np.float32(1)
    with np.errstate(over="ignore"):  # beyond float32 is beyond every element
        if rows.size and kernel(bits, codes, scales, tensor):
            raise ValueError(NOT_FINITE)
        if rounding == "nearest_even":
            return scales, codes
        worth = step(fmt, scales, tensor)
        x = rows / np.where(worth == 0, np.float32(1), worth)
        x = np.maximum(x, -fmt.element.max) if isinstance(fmt.element, IntegerFacts) else x
        return scales, codec.encode(fmt.element, x, rounding, generator=generator)


def step(fmt: BlockFacts, scales: Array, tensor_scale: np.float32 | None) -> Array:
    """What an element of 1 is worth: scale * tensor scale * 2^element_exponent, each product a float32."""
    names = {"F": np.float32, "scale": scales, "tensor": tensor_scale}
    exec("\n".join(_step_lines(fmt)), names)
    return np.asarray(names["step"])


# --- the lines -------------------------------------------------------------------------------------------------------


def _scale_lines(fmt: BlockFacts, rounding: ScaleRounding) -> list[str]:
    """From `amax` and `tensor` to `scale`."""
    return _power_lines(fmt, rounding) if fmt.scale.mantissa_bits == 0 else _quotient_lines(fmt)


def _power_lines(fmt: BlockFacts, rounding: ScaleRounding) -> list[str]:
    """A power of two, read off the bits of amax as a float64: OCP MX 1.0, section 6.3.

    floor: 2^(floor(log2(amax)) - emax), emax the exponent of the element's largest value; such blocks may saturate.
    ceil: the smallest power of two p with amax / p <= that largest value. Adding `carry` moves amax into the next
    binade exactly when its significand is above that of the largest value.
    """
    significand, exponent = math.frexp(fmt.element_max)
    carry = (1 << 52) - 1 - int((2 * significand - 1) * 2**52) if rounding == "ceil" else 0
    low, high = math.frexp(fmt.scale.magnitude(int(fmt.scale.has_subnormals)))[1] - 1, fmt.scale.max_exponent
    return [
        f"power = J(L(D(amax).view(L) + L({carry:#x})) >> L(52)) - J({1023 + exponent - 1})",
        f"power = minimum(maximum(power, J({low})), J({high}))",
        "scale = F(L(L(power + J(1023)) << L(52)).view(D))",
    ]


def _quotient_lines(fmt: BlockFacts) -> list[str]:
    """amax / (largest element * tensor scale), in the scale format, at least its least; 1 for an all-zero block. A
    float32 scale that rounding up took too far, so that the largest element would be infinite, is the one below."""
    divisor = f"F(F({fmt.element_max!r}) * tensor)" if fmt.tensor_scale else f"F({fmt.element_max!r})"
    least = float(fmt.scale.magnitude(int(fmt.scale.has_subnormals)))
    x = [
        f"x = F(amax / {divisor})",
        f"x = F(maximum(where(x == F(0.0), F(1.0), x), F({least!r})))",
        "u = x.view(U)",
    ]
    if fmt.scale.bits == 32:
        return [*x, f"scale = where(F(x * {divisor}) < F(np.inf), x, U(u - U(1)).view(F))"]
    return [*x, *encode_lines(fmt.scale), "c = U(code)", *decode_lines(fmt.scale), "scale = U(value).view(F)"]


def _step_lines(fmt: BlockFacts) -> list[str]:
    lines = ["step = F(scale * tensor)" if fmt.tensor_scale else "step = scale"]
    if fmt.element_exponent:
        lines.append(f"step = F(step * F({2.0**fmt.element_exponent!r}))")
    return lines


def _element_lines(fmt: BlockFacts) -> list[str]:
    """From `x` to `code`; signed integers leave their lowest code unused, so that they are symmetric."""
    if isinstance(fmt.element, IntegerFacts):
        return [f"x = F(maximum(x, F({-fmt.element.max}.0)))", *encode_lines(fmt.element)]
    return ["u = F(x).view(U)", *encode_lines(fmt.element)]


# --- kernels ---------------------------------------------------------------------------------------------------------

_SCALE = """
def scale_of(amax, tensor):
    {scale}
    return scale
"""
_NUMPY = """
def kernel(source, codes, scales, tensor):
    chunk = max(1, 16384 // source.shape[1])
    for start in range(0, len(source), chunk):
        part = slice(start, start + chunk)
        amax = U(source[part] & U(0x7fffffff)).max(axis=1, keepdims=True).view(F)
        if not (amax < F(np.inf)).all():
            return True
        scales[part] = scale = scale_of(amax, tensor)
        {step}
        x = F(source[part].view(F) / where(step == F(0.0), F(1.0), step))
        {elements}
        codes[part] = code
    return False
"""
_NUMBA = """
@njit(cache=True, nogil=True, error_model="numpy")
def kernel(source, codes, scales, tensor):
    fault = False
    for row in range(len(source)):
        most = U(0)
        for i in range({size}):
            most = maximum(most, U(source[row, i] & U(0x7fffffff)))
        fault |= most >= U(0x7f800000)
        scales[row, 0] = scale = scale_of(U(most).view(F), tensor)
        {step}
        step = where(step == F(0.0), F(1.0), step)  # an underflow: all codes are 0
        for i in range({size}):
            x = F(U(source[row, i]).view(F) / step)
            {elements}
            codes[row, i] = T(code)
    return fault
"""


@functools.lru_cache(maxsize=256)
def _kernel(fmt: BlockFacts, size: int | None, rounding: ScaleRounding, *, compiled: bool) -> codec.Kernel:
    if rounding not in get_args(ScaleRounding):
        raise ValueError(f"scale_rounding is one of {', '.join(get_args(ScaleRounding))}: got {rounding!r}")
    return codec.kernel_of(functools.partial(kernel_source, fmt, size, rounding), compiled=compiled)


def kernel_source(fmt: BlockFacts, size: int | None, rounding: ScaleRounding, *, compiled: bool = True) -> str:
    """The program that quantises rows of `size` floats, or of any number."""
    if not fits(fmt.element, 32) or not fits(fmt.scale, 32) or fmt.element_max >= 2.0**128:
        raise ValueError(
            f"scaling is float32 arithmetic, which must hold all elements and scales: got {fmt.element} and {fmt.scale}"
        )
    indent = "\n            " if compiled else "\n        "
    scale = _SCALE.format(scale="\n    ".join(_scale_lines(fmt, rounding)))
    body = (_NUMBA if compiled else _NUMPY).format(
        size="source.shape[1]" if size is None else size,
        step="\n        ".join(_step_lines(fmt)),
        elements=indent.join(_element_lines(fmt)),
    )
    decorator = '@njit(error_model="numpy")' if compiled else ""
    header = codec.header(fmt.element, 32, f"uint{fmt.container_bits}", compiled=compiled)
    return f"{header}D, L, J = np.float64, np.uint64, np.int64\n{decorator}{scale}{body}"

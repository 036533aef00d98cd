"""numeric/codec: arrays to codes and back at the speed of memory, with the bits that `exact` specifies.

In: a description and an array. Out: codes, or exact values. The arithmetic comes from `kernels`: numba compiles it for
large arrays and keeps the result on disk; NumPy runs the very same lines on small arrays and where numba is missing.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import exact, kernelfile
from trtlab.numeric.describe import BookFacts, FloatFacts, FormatFacts, Overflow, Rounding
from trtlab.numeric.kernels import decode_lines, encode_lines, fits

Array = npt.NDArray[Any]
Kernel = Callable[..., bool]  # (source, ..., target) -> whether something had no code

COMPILED_FROM = 1 << 15  # elements; with fewer, loading numba takes longer than the work
_PAST_CACHES_FROM = 1 << 22  # elements to decode: 16 MB or more


def encode(
    fmt: FormatFacts,
    values: npt.ArrayLike,
    rounding: Rounding = "nearest_even",
    overflow: Overflow = "saturate",
    generator: np.random.Generator | None = None,
    out: Array | None = None,
) -> Array:
    """The codes of `values` (float32 or float64, each rounded once), as unsigned integers of the same shape.

    Beyond the largest value, infinities included: `saturate` gives the largest, `ieee` infinity, else NaN, else
    ValueError (and rounding towards zero never leaves the finite values). NaN keeps its sign; in a format without
    NaN it is a ValueError. What is below an unsigned format's lowest value, and zero in a format without zero,
    becomes the lowest value under `saturate`, NaN or ValueError under `ieee`; but positive values too small for a
    format without zero always become its smallest. Stochastic rounding draws 32 bits of `generator` per value.
    """
    exact.check_modes(rounding, overflow, generator)
    array = float_array(values)
    codes = _output(out, array.shape, fmt.code_dtype)
    if rounding == "stochastic" and isinstance(fmt, BookFacts):
        each = [exact.encode(fmt, value, rounding, overflow, generator) for value in array.flat]
        codes[...] = np.array(each, fmt.code_dtype).reshape(array.shape)
        return codes
    if rounding == "stochastic" or not fits(fmt, array.itemsize * 8):
        array = array.astype(np.float64)
    source = draws = _bits(array) if isinstance(fmt, FloatFacts) else array.reshape(-1)
    if rounding == "stochastic" and generator is not None:
        draws = generator.integers(0, 1 << 32, size=array.size, dtype=np.uint32)
    kernel = _kernel(fmt, array.itemsize * 8, (rounding, overflow), compiled=array.size >= COMPILED_FROM)
    if kernel(source, draws, codes.reshape(-1)):
        raise exact.refusal(fmt, _worst(fmt, array))
    return codes if codes.ndim else codes[()]  # a scalar for a scalar


def decode(fmt: FormatFacts, codes: npt.ArrayLike, out: Array | None = None) -> Array:
    """The exact values of `codes`: float32 where that holds all, else float64. ValueError for what is no code."""
    array = _code_array(fmt, codes)
    width = 32 if fits(fmt, 32) else 64
    values = _output(out, array.shape, np.dtype(f"float{width}"))
    is_large = array.size >= _PAST_CACHES_FROM
    kernel = _kernel(fmt, width, None, compiled=array.size >= COMPILED_FROM, past_caches=is_large)
    target = _bits(values) if isinstance(fmt, FloatFacts) else values.reshape(-1)
    flat = array.reshape(-1)
    if kernel(flat, flat, target):
        _check_codes(fmt, flat)
    return values if values.ndim else values[()]


# --- arrays in and out -----------------------------------------------------------------------------------------------


def float_array(values: npt.ArrayLike) -> Array:
    """`values` as contiguous float32 or float64, nothing rounded. Integers up to 2^53 and float16 are welcome."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        if array.size and max(-int(array.min()), int(array.max())) > 1 << 53:
            raise ValueError(f"integers beyond 2^53 may be no float64: got {array.max()}; use numeric.exact.encode")
        return np.array(array, np.float64, order="C")
    if array.dtype == np.float16:
        return np.array(array, np.float32, order="C")
    if array.dtype.kind != "f" or array.itemsize > 8:
        raise TypeError(f"values are float32 or float64: got {array.dtype}; convert them first: .astype('float32')")
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _code_array(fmt: FormatFacts, codes: npt.ArrayLike) -> Array:
    array = np.asarray(codes)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"codes are integers: got {array.dtype}; did you mean encode?")
    if array.size and array.dtype != fmt.code_dtype:
        _check_codes(fmt, array.reshape(-1))
    return np.asarray(array, fmt.code_dtype, order="C")


def _check_codes(fmt: FormatFacts, array: Array) -> None:
    """ValueError for the first code beyond the format or with padding bits."""
    is_wrong = (array < 0) | (array >= 1 << (fmt.bits + fmt.padding_bits))
    for code in array[is_wrong | (array.astype(fmt.code_dtype) & ((1 << fmt.padding_bits) - 1) != 0)][:1]:
        fmt.check_code(int(code))


def _output(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`out` itself, or fresh memory; ValueError for what cannot take the results."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.carray:
        raise ValueError(
            f"out is contiguous {dtype} of shape {shape}: got {out.dtype} of shape {out.shape}, strides {out.strides}"
        )
    return out


def _bits(array: Array) -> Array:
    return array.reshape(-1).view(f"uint{array.itemsize * 8}")


def _worst(fmt: FormatFacts, array: Array) -> float:
    """NaN if there is one, else the value farthest beyond the range: what the refusal is about."""
    lowest, highest = float(array.min()), float(array.max())
    return highest if np.isnan(highest) or highest - fmt.max >= fmt.min - lowest else lowest


# --- kernels ---------------------------------------------------------------------------------------------------------

_NUMPY = """
def kernel(source, draws, target):
    fault = False
    for start in range(0, source.size, 16384):
        part = slice(start, start + 16384)
        target[part], bad = element(source[part], draws[part])
        fault |= np.any(bad)
    return fault
"""
_NUMBA = """
def kernel(source, draws, target):
    fault = False
    for i in range(source.size):
        target[i], bad = element(source[i], draws[i])
        fault |= bad
    return fault
"""
_NUMBA_HEADER = """
from numba import njit
inner = njit(error_model="numpy")
@inner
def where(condition, yes, no):
    return yes if condition else no
@inner
def minimum(a, b):
    return a if a < b else b
@inner
def maximum(a, b):
    return a if a > b else b
"""
_COMPILED = 'kernel = njit(cache=True, nogil=True, error_model="numpy")(kernel)\n'
# Results too large for the caches are stored past them; else every line of `target` would be read before it is written.
_PAST_CACHES = """
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
by_element = njit(inline="always")(kernel)
@intrinsic
def stream(typing, source, i, target, j):
    "Store 32 bytes of source[i:] at target[j:], an address that 32 divides."
    def code(context, builder, signature, args):
        source, target = (context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 2))
        bits = signature.args[0].dtype.bitwidth
        vector = ir.VectorType(ir.IntType(bits), 256 // bits).as_pointer()
        value = builder.load(builder.bitcast(builder.gep(source, [args[1]]), vector), align=bits // 8)
        store = builder.store(value, builder.bitcast(builder.gep(target, [args[3]]), vector), align=32)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
    return types.void(source, types.intp, target, types.intp), code
def kernel(source, draws, target):
    first = (32 - np.int64(target.ctypes.data & 31)) % 32 // target.itemsize
    last = source.size - (source.size - first) % 512
    fault, part = by_element(source[:first], draws, target[:first]), np.empty(512, target.dtype)
    for start in range(first, last, 512):
        fault |= by_element(source[start:start + 512], draws, part)
        for i in range(0, 512, 32 // target.itemsize):
            stream(part, i, target, start + i)
    return fault | by_element(source[last:], draws, target[last:])
"""


@functools.lru_cache(maxsize=512)
def _kernel(
    fmt: FormatFacts, width: int, modes: tuple[Rounding, Overflow] | None, *, compiled: bool, past_caches: bool = False
) -> Kernel:
    """encode with these modes, or decode without any: (source, draws, target) -> whether something had no code. `draws`
    are read by stochastic rounding alone."""
    lines = encode_lines(fmt, width, *modes) if modes else decode_lines(fmt, width)
    is_float = isinstance(fmt, FloatFacts)
    target = f"uint{fmt.container_bits}" if modes else f"{'uint' if is_float else 'float'}{width}"
    x, made = ("u" if is_float else "x", "code") if modes else ("c", "value")
    source = header(fmt, width, target) + element(x, lines, made)
    return kernel_of(source, _NUMPY, _NUMBA + (_PAST_CACHES if past_caches else ""), compiled=compiled)


def element(x: str, lines: Sequence[str], made: str) -> str:
    """The function of one element: its result as a T, and whether it has none."""
    bad = "bad" if any(line.startswith("bad = ") for line in lines) else "False"
    return function("element", f"{x}, draw", *lines, f"return T({made}), {bad}")


def function(name: str, arguments: str, *lines: str) -> str:
    """A function of numbers in numba, of arrays in NumPy."""
    return "\n    ".join([f"@inner\ndef {name}({arguments}):", *lines]) + "\n"


def kernel_of(source: str, numpy: str, numba: str, *, compiled: bool) -> Kernel:
    """`kernel` of the functions in `source` and of either text; NumPy's where numba is not wanted, or is missing."""
    if compiled:
        with contextlib.suppress(ImportError):
            return kernelfile.load(f"{_NUMBA_HEADER}{source}{numba}{_COMPILED}")
    names: dict[str, Any] = {"inner": lambda function: function}
    exec(f"from numpy import maximum, minimum, where\n{source}{numpy}", names)  # our own text, and numbers
    return names["kernel"]  # type: ignore[no-any-return]


def header(fmt: FormatFacts, width: int, target: str) -> str:
    """The names that the lines of `kernels` use; T is the type of what they compute."""
    table = ""
    if isinstance(fmt, BookFacts):
        table = f"table = np.array({[*fmt.entries, *[0.0] * (256 - len(fmt.entries))]}, F)\n"
    types = f"U, I, F, T = np.uint{width}, np.int{width}, np.float{width}, np.{target}\n"
    return f"import numpy as np\nfrom numpy import ceil, fabs, floor, rint, trunc\n{types}{table}"

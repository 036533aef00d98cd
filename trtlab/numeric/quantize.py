"""numeric/quantize: arrays to codes that share scales (per tensor, channel or block) and back; packing; SQNR.

In: a format and an array. Out: a frozen `Quantized`. Everything is float32 arithmetic, one rounding per operation; the
tests repeat it in fractions. `Groups` cuts arrays into rows with one scale each; numba runs the lines at the end of
this file on many rows, NumPy on few, with the same bits.
"""

import functools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from trtlab.numeric import codec
from trtlab.numeric.describe import BlockFacts, FloatFacts, FormatFacts, IntegerFacts
from trtlab.numeric.kernels import decode_lines, encode_lines, fits

Array = npt.NDArray[Any]
ScaleRounding = Literal["floor", "ceil"]
_FP32 = FloatFacts(name="FP32", exponent_bits=8, mantissa_bits=23)
_FP8 = FloatFacts(name="FP8_E4M3", exponent_bits=4, mantissa_bits=3, has_infinity=False, top_nans=1)
_MOST = np.finfo(np.float32).max
_SECOND_BLOCK = 256  # QLoRA, section 3: constants of the constants
_UNROLLED = 256  # rows up to this length get a kernel of their own


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which elements of an array share a scale: all; those with one index of `axis`; or `block` neighbours along it."""

    shape: tuple[int, ...]
    axis: int | None = None
    block: int | None = None

    def rows(self, array: Array) -> Array:
        """The array with one group per row; a shorter last block is filled up with zeros."""
        if self.axis is None:
            return array.reshape(1, -1)
        moved = np.moveaxis(array, self.axis, -1 if self.block else 0)
        if self.block is None:
            return moved.reshape(len(moved), math.prod(moved.shape[1:]))
        if missing := -moved.shape[-1] % self.block:
            moved = np.pad(moved, [*[(0, 0)] * (moved.ndim - 1), (0, missing)])
        return moved.reshape(-1, self.block)

    def array(self, rows: Array) -> Array:
        """The inverse of `rows`."""
        if self.axis is None:
            return rows.reshape(self.shape)
        others = [size for place, size in enumerate(self.shape) if place != self.axis]
        if self.block is None:
            return np.ascontiguousarray(np.moveaxis(rows.reshape(len(rows), *others), 0, self.axis))
        length = self.shape[self.axis]
        moved = rows.reshape(*others, -(-length // self.block) * self.block)[..., :length]
        return np.ascontiguousarray(np.moveaxis(moved, -1, self.axis))

    @property
    def grid(self) -> "Groups":
        """The array of one number per group, cut up so that each is a row."""
        if self.axis is None:
            return Groups(shape=())
        if self.block is None:
            return Groups(shape=(self.shape[self.axis],), axis=0)
        shape = list(self.shape)
        shape[self.axis] = -(-shape[self.axis] // self.block)
        return Groups(shape=tuple(shape), axis=self.axis, block=1)

    def spread(self, numbers: Array) -> Array:
        """One number per group, so that it meets all elements of its group in a product."""
        if self.axis is None:
            return numbers
        if self.block is None:
            return numbers.reshape(-1, *[1] * (len(self.shape) - self.axis - 1))
        repeated = np.repeat(numbers, self.block, self.axis)
        return repeated[(slice(None),) * self.axis + (slice(self.shape[self.axis]),)]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Quantized:
    """Codes, and what turns them back into values: value = (code - zero point) * scale * tensor scale.

    scales, zero_points: () for one group, (shape[axis],) for channels, and for blocks the shape of `codes` with `axis`
    divided by the block size. second: the quantisation of the scales themselves.
    """

    format: FormatFacts
    codes: Array
    scales: Array
    groups: Groups
    zero_points: Array | None = None
    tensor_scale: np.float32 | None = None
    second: "Quantized | None" = None

    @cached_property
    def values(self) -> Array:
        """What the codes stand for: float32 in the shape of the input, at most the largest float32, since a code times
        its scale, both right, may round beyond it."""
        rule = _rule(self.format)
        codes = codec.decode(rule.element, self.codes)
        if self.zero_points is not None:
            codes = codes - self.groups.spread(self.zero_points).astype(np.float32)
        with np.errstate(over="ignore"):
            scales = self.scales if self.tensor_scale is None else self.scales * self.tensor_scale
            products = codes * self.groups.spread(scales * np.float32(2.0**rule.element_exponent))
            return np.asarray(np.clip(products, -_MOST, _MOST))

    @property
    def element(self) -> FormatFacts:
        """What one code is, whether or not its format is one of blocks."""
        return _rule(self.format).element

    @property
    def scale_codes(self) -> Array:
        """The scales as codes: E8M0 for MX, E4M3 for NVFP4, FP32 where the format names no other."""
        return codec.encode(_rule(self.format).scale, self.scales)

    @property
    def size_bits(self) -> int:
        """Codes without gaps, scales (quantised ones with their mean), zero points and the tensor's scale."""
        scales = self.second.size_bits + 32 if self.second else self.scales.size * _rule(self.format).scale.bits
        zero_points = 0 if self.zero_points is None else self.zero_points.size * self.format.bits
        return self.codes.size * self.format.bits + scales + zero_points + 32 * (self.tensor_scale is not None)

    @property
    def size_bytes(self) -> int:
        return -(-self.size_bits // 8)

    @property
    def bits_per_value(self) -> float:
        """All bits over the number of values; NaN where there are none."""
        return self.size_bits / self.codes.size if self.codes.size else math.nan

    def __repr__(self) -> str:
        shapes = f"codes {self.codes.shape}, scales {self.scales.shape}"
        return f"<{self.format}: {shapes}, {self.bits_per_value:g} bits per value>"


# --- quantisation ----------------------------------------------------------------------------------------------------


def quantize(
    fmt: FormatFacts,
    values: npt.ArrayLike,
    axis: int | None = None,
    block: int | None = None,
    *,
    scale: npt.ArrayLike | None = None,
    symmetric: bool = True,
    partial: bool = False,
    double_quantize: bool = False,
) -> Quantized:
    """Codes with float32 scales: one for all, one per index of `axis`, or one per `block` elements along `axis`.

    `block` alone runs along the last axis; the groups are those of ONNX's QuantizeLinear. All in float32:
    value = code * scale. Symmetric: scale = amax / max, so INT8 never uses -128. symmetric=False, for integers:
    scale = (highest - lowest) / (max - min) over a range that holds 0, and a zero point z: x = (code - z) * scale.
    scale: given scales (scalar or one per group); values beyond saturate. All-zero groups get scale 1.
    partial: the last block of an axis may be shorter; else it is a ValueError, as are NaN and infinity.
    double_quantize: the scales, less their mean, in blocks of 256 as FP8_E4M3 (QLoRA, arXiv 2305.14314, section 3).
    """
    array = _float32(values)
    groups = _groups(array.shape, axis, block, partial=partial)
    rows, zero_points, second = groups.rows(array), None, None
    if symmetric and fmt.min >= 0 and array.min(initial=0) < 0:
        raise ValueError(f"{fmt} has no values below 0: got {array.min():.6g}; use symmetric=False for a zero point")
    given = None if scale is None else _given_scales(scale, groups)
    if not symmetric:
        scales, zeros, codes = _affine(fmt, rows, given)
        zero_points = groups.grid.array(zeros)
    elif given is not None:
        amax(rows)  # refuses NaN and infinity, as _encode_rows does
        with np.errstate(over="ignore"):  # beyond float32 is beyond every code
            scales, codes = given, codec.encode(fmt, rows / given)
    else:
        scales, codes = _encode_rows(_rule(fmt), rows)
    scales, codes = groups.grid.array(scales), groups.array(codes)
    if double_quantize:  # less their mean, so that both signs of the codes are used
        mean = scales.mean(dtype=np.float32) if scales.size else np.float32(0)
        second = quantize(_FP8, scales.reshape(-1) - mean, block=_SECOND_BLOCK, partial=True)
        scales = np.maximum(second.values.reshape(scales.shape) + mean, np.float32(0))
    return Quantized(format=fmt, codes=codes, scales=scales, groups=groups, zero_points=zero_points, second=second)


def quantize_blocks(
    fmt: BlockFacts,
    values: npt.ArrayLike,
    axis: int = -1,
    *,
    scale_rounding: ScaleRounding = "floor",
    partial: bool = False,
) -> Quantized:
    """Codes, scales and the tensor's scale for blocks along `axis`, computed in float32.

    Power-of-two scales, where 2^e <= amax < 2^(e+1) and the largest element lies in the binade of 2^emax:
    scale_rounding="floor" takes 2^(e - emax), and the largest values may saturate (OCP MX 1.0, section 6.3); "ceil"
    takes the smallest power of two with amax / scale <= largest element (cuBLAS: 1D block quantization; ModelOpt).
    Other scales: amax / (largest element * tensor scale), rounded to nearest even, at least the scale format's smallest
    value (2^-9 for E4M3, as ModelOpt; torchao takes 2^-6). An all-zero block gets scale 1, or the least power of two.
    The tensor's scale is amax / (largest element * largest scale), amax / 2688 for NVFP4; 1 for zeros alone.
    partial: the last block of an axis may be shorter; else it is a ValueError, as are NaN and infinity. Signed
    integers are symmetric: MXINT8 never uses -128.
    """
    array, tensor = _float32(values), None
    groups = _groups(array.shape, axis, fmt.block_size, partial=partial)
    if fmt.tensor_scale:
        tensor = amax(array) / np.float32(fmt.element_max * fmt.scale.max) or np.float32(1)
    scales, codes = _encode_rows(fmt, groups.rows(array), tensor, scale_rounding)
    scales, codes = groups.grid.array(scales), groups.array(codes)
    return Quantized(format=fmt, codes=codes, scales=scales, groups=groups, tensor_scale=tensor)


def _rule(fmt: FormatFacts) -> BlockFacts:
    """`fmt` itself, or elements with float32 scales (of any number: the block size is not used)."""
    if isinstance(fmt, BlockFacts):
        return fmt
    return BlockFacts(name=str(fmt), element=fmt, block_size=1, scale=_FP32)


@np.errstate(over="ignore")  # beyond float32 is beyond every code
def _affine(fmt: FormatFacts, rows: Array, given: Array | None) -> tuple[Array, Array, Array]:
    """Scales, zero points and codes with the bits of ONNX's DynamicQuantizeLinear."""
    if not isinstance(fmt, IntegerFacts):
        raise ValueError(f"symmetric=False is for integers: got {fmt}; leave it out")
    amax(rows)  # refuses NaN and infinity
    low, high = rows.min(axis=1, keepdims=True, initial=0), rows.max(axis=1, keepdims=True, initial=0)
    scales = (high - low) / np.float32(fmt.max - fmt.min) if given is None else given
    if not np.isfinite(scales).all():
        raise ValueError(f"a range beyond float32 has no scale: got {low.min()} to {high.max()}; divide the values")
    scales = np.where(scales == 0, np.float32(1), scales)
    zero_points = np.clip(np.rint(np.float32(fmt.min) - low / scales), fmt.min, fmt.max)
    return scales, zero_points.astype(np.int32), codec.encode(fmt, np.rint(rows / scales) + zero_points)


# --- input -----------------------------------------------------------------------------------------------------------


def _float32(values: npt.ArrayLike) -> Array:
    with np.errstate(over="ignore"):
        return codec.float_array(values).astype(np.float32, copy=False)


def amax(array: Array) -> np.float32:
    """The largest magnitude, 0 for an empty array. ValueError for NaN and infinity."""
    most = np.float32(max(array.max(initial=0), -array.min(initial=0)))
    if not np.isfinite(most):
        raise ValueError("a scale needs finite float32 values: got NaN or infinity; numpy.nan_to_num replaces them")
    return most


def _groups(shape: tuple[int, ...], axis: int | None, block: int | None, *, partial: bool) -> Groups:
    if axis is None and block is None:
        return Groups(shape=shape)
    axis = -1 if axis is None else axis
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer) or not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis is one of the {len(shape)} axes of shape {shape}: got {axis!r}")
    axis = int(axis) % len(shape)
    if block is not None and (not isinstance(block, int | np.integer) or block is True or block < 1):
        raise ValueError(f"block is a number of elements, 1 or more: got {block!r}")
    if block and shape[axis] % block and not partial:
        raise ValueError(
            f"blocks of {block} do not divide axis {axis} of length {shape[axis]}; partial=True lets the last block "
            "be shorter, or choose another block or axis"
        )
    return Groups(shape=shape, axis=axis, block=None if block is None else int(block))


def _given_scales(scale: npt.ArrayLike, groups: Groups) -> Array:
    """Given scales as one row per group."""
    scales, shape = _float32(scale), groups.grid.shape
    if scales.shape not in ((), shape):
        raise ValueError(f"scale is one number or has shape {shape}, one per group: got shape {scales.shape}")
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError(f"scales are finite and above 0: got {scales.min()} to {scales.max()}")
    return groups.grid.rows(np.broadcast_to(scales, shape))


# --- packing and error -----------------------------------------------------------------------------------------------


def pack(codes: npt.ArrayLike) -> Array:
    """4-bit codes, two per byte, flat: the first in the low nibble, as ONNX and TensorRT store INT4 and FP4.

    An odd number leaves the last high nibble 0. pack([1, 2, 3]) is [0x21, 0x03].
    """
    flat = np.asarray(codes).reshape(-1)
    if flat.size and (flat.dtype.kind not in "iu" or int(flat.min()) < 0 or int(flat.max()) > 15):
        raise ValueError(f"pack takes codes 0 to 15: got {flat.dtype} from {flat.min()} to {flat.max()}")
    flat = np.pad(flat, (0, flat.size % 2)).astype(np.uint8)
    return np.asarray(flat[::2] | flat[1::2] << 4)


def unpack(packed: npt.ArrayLike, shape: int | tuple[int, ...] | None = None) -> Array:
    """The codes in `packed`, in `shape`; without one all of them, flat, the filling of an odd number included."""
    array = np.asarray(packed).reshape(-1)
    if array.dtype != np.uint8 and array.size:
        raise TypeError(f"packed codes are bytes (uint8): got {array.dtype}")
    codes = np.stack([array & 15, array >> 4], axis=-1).reshape(-1).astype(np.uint8)
    shape = codes.shape if shape is None else (shape,) if isinstance(shape, int) else shape
    if -(-math.prod(shape) // 2) != array.size:
        raise ValueError(f"{array.size} bytes hold {2 * array.size} codes: got shape {shape}")
    return codes[: math.prod(shape)].reshape(shape)


def sqnr_db(original: npt.ArrayLike, restored: npt.ArrayLike) -> float:
    """Signal to quantisation noise in decibels: 10 log10(sum x^2 / sum (x - y)^2).

    Infinity where nothing was lost, minus infinity for a signal of zeros or infinite noise.
    """
    x, y = np.asarray(original, np.float64), np.asarray(restored, np.float64)
    if x.shape != y.shape:
        raise ValueError(f"both have one shape: got {x.shape} and {y.shape}")
    noise, signal = float(np.square(x - y).sum()), float(np.square(x).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal and not math.isinf(noise) else -math.inf


# --- rows to scales and codes ----------------------------------------------------------------------------------------


def _encode_rows(
    fmt: BlockFacts, rows: Array, tensor: np.float32 | None = None, rounding: ScaleRounding = "floor"
) -> tuple[Array, Array]:
    """Scales (one column) and codes of float32 rows; ValueError for NaN and infinity."""
    size = rows.shape[1] if rows.shape[1] <= _UNROLLED else 0
    kernel = _kernel(fmt, size, rounding, compiled=rows.size >= codec.COMPILED_FROM)
    scales, codes = np.ones((len(rows), 1), np.float32), np.empty(rows.shape, fmt.code_dtype)
    with np.errstate(over="ignore"):  # beyond float32 is beyond every element
        if rows.size and kernel(np.ascontiguousarray(rows).view(np.uint32), codes, scales, tensor or np.float32(1)):
            amax(rows)  # refuses them
    return scales, codes


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
    """amax / (largest element * tensor scale), in the scale format, at least its least; 1 for an all-zero block."""
    divisor = f"F(F({fmt.element_max!r}) * tensor)" if fmt.tensor_scale else f"F({fmt.element_max!r})"
    least = float(fmt.scale.magnitude(int(fmt.scale.has_subnormals)))
    x = [f"x = F(amax / {divisor})", f"x = F(maximum(where(x == F(0.0), F(1.0), x), F({least!r})))"]
    if fmt.scale.bits == 32:
        return [*x, "scale = x"]
    return [*x, "u = x.view(U)", *encode_lines(fmt.scale), "c = U(code)", *decode_lines(fmt.scale),
            "scale = U(value).view(F)"]  # fmt: skip


# --- kernels ---------------------------------------------------------------------------------------------------------

_NUMPY = """
def kernel(source, codes, scales, tensor):
    chunk = max(1, 16384 // source.shape[1])
    for start in range(0, len(source), chunk):
        part = slice(start, start + chunk)
        amax = U(source[part] & U(0x7fffffff)).max(axis=1, keepdims=True).view(F)
        if not (amax < F(np.inf)).all():
            return True
        scales[part], step = scale_of(amax, tensor)
        codes[part], _ = element(F(source[part].view(F) / step), None)
    return False
"""
_NUMBA = """
def kernel(source, codes, scales, tensor):
    fault = False
    for row in range(len(source)):
        most = U(0)
        for i in range(SIZE or source.shape[1]):
            most = maximum(most, U(source[row, i] & U(0x7fffffff)))
        fault |= most >= U(0x7f800000)
        scales[row, 0], step = scale_of(U(most).view(F), tensor)
        for i in range(SIZE or source.shape[1]):
            codes[row, i], _ = element(F(U(source[row, i]).view(F) / step), None)
    return fault
"""


@functools.lru_cache(maxsize=256)
def _kernel(fmt: BlockFacts, size: int, rounding: ScaleRounding, *, compiled: bool) -> codec.Kernel:
    """What quantises rows of `size` floats, or with 0 of any number."""
    if rounding not in get_args(ScaleRounding):
        raise ValueError(f"scale_rounding is one of {', '.join(get_args(ScaleRounding))}: got {rounding!r}")
    if not fits(fmt.element, 32) or not fits(fmt.scale, 32) or fmt.element_max >= 2.0**128:
        raise ValueError(
            f"scaling is float32 arithmetic, which must hold all elements and scales: got {fmt.element} and {fmt.scale}"
        )
    scale = _power_lines(fmt, rounding) if fmt.scale.mantissa_bits == 0 else _quotient_lines(fmt)
    step = "F(scale * tensor)" if fmt.tensor_scale else "scale"
    if fmt.element_exponent:
        step = f"F({step} * F({2.0**fmt.element_exponent!r}))"
    never_zero = f"step = where({step} == F(0.0), F(1.0), {step})"  # 0 is an underflow: all codes are 0
    symmetric = fmt.element.max if isinstance(fmt.element, IntegerFacts) else None  # leaves the lowest code unused
    bits = "u = F(x).view(U)" if symmetric is None else f"x = F(maximum(x, F(-{symmetric}.0)))"
    source = [
        codec.header(fmt.element, 32, f"uint{fmt.container_bits}"),
        f"D, L, J, SIZE = np.float64, np.uint64, np.int64, {size}\n",
        codec.function("scale_of", "amax, tensor", *scale, never_zero, "return scale, step"),
        codec.element("x", [bits, *encode_lines(fmt.element)], "code"),
    ]
    return codec.kernel_of("".join(source), _NUMPY, _NUMBA, compiled=compiled)

"""numeric/formats: a number format is a frozen description; everything else about it is derived.

In: a few stored facts (bits, bias, which codes are special). Out: `FloatFormat`, `IntegerFormat`, `CodeBook`, and
`FORMATS`, all of them by name. `exact` says what their codes mean, `codec` does the same on arrays, fast.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from trtlab.numeric.quantize import Quantized

Rounding = Literal["nearest_even", "nearest_away", "toward_zero", "up", "down", "stochastic"]
Overflow = Literal["saturate", "ieee"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """What every format has: a name, codes of `bits` bits in unsigned integers, arrays to codes and back."""

    name: str = ""
    padding_bits = 0  # unused low bits of a code; only TF32 has some

    if TYPE_CHECKING:  # stored by integers, derived by the others

        @property
        def bits(self) -> int: ...
        @property
        def min(self) -> float: ...
        @property
        def max(self) -> float: ...

    @property
    def container_bits(self) -> int:
        """Bits of one code in memory before any packing: 8, 16, 32 or 64."""
        return max(8, 1 << (self.bits + self.padding_bits - 1).bit_length())

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """The unsigned integer that holds one code."""
        return np.dtype(f"uint{self.container_bits}")

    def all_codes(self) -> npt.NDArray[Any]:
        """Every code, ascending; for formats of few bits."""
        return np.arange(1 << self.bits, dtype=self.code_dtype) << self.padding_bits

    def check_code(self, code: int) -> None:
        """ValueError for a code beyond the format or with padding bits set."""
        if not 0 <= code < 1 << (self.bits + self.padding_bits):
            raise ValueError(
                f"{self} has codes 0 to {(1 << self.bits + self.padding_bits) - 1:#x}: got {code:#x}; "
                f"a two's complement integer is turned into a code by `& {(1 << self.bits) - 1:#x}`"
            )
        if code & ((1 << self.padding_bits) - 1):
            raise ValueError(
                f"{self} keeps its {self.bits} bits above {self.padding_bits} zero bits: got {code:#x}; "
                "encode a float32 instead of reading its bits"
            )

    def encode(
        self,
        values: npt.ArrayLike,
        rounding: Rounding = "nearest_even",
        overflow: Overflow = "saturate",
        generator: np.random.Generator | None = None,
        out: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[Any]:
        """The codes of `values` (float32 or float64, each rounded once), as unsigned integers of the same shape.

        Beyond the largest value, infinities included: `saturate` gives the largest, `ieee` infinity, else NaN, else
        ValueError (and rounding towards zero never leaves the finite values). NaN keeps its sign; in a format without
        NaN it is a ValueError. What is below an unsigned format's lowest value, and zero in a format without zero,
        becomes the lowest value under `saturate`, NaN or ValueError under `ieee`; but positive values too small for a
        format without zero always become its smallest. Stochastic rounding draws 32 bits of `generator` per value.
        """
        from trtlab.numeric import codec

        return codec.encode(self, values, rounding, overflow, generator, out)

    def decode(self, codes: npt.ArrayLike, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The exact values of `codes`: float32 where that holds all, else float64. ValueError for what is no code."""
        from trtlab.numeric import codec

        return codec.decode(self, codes, out)

    def quantize(
        self,
        values: npt.ArrayLike,
        axis: int | None = None,
        block: int | None = None,
        *,
        scale: npt.ArrayLike | None = None,
        symmetric: bool = True,
        rounding: Rounding = "nearest_even",
        generator: np.random.Generator | None = None,
        partial: bool = False,
        double_quantize: bool = False,
    ) -> "Quantized":
        """Codes with float32 scales: one for all, one per index of `axis`, or one per `block` elements along `axis`.

        `block` alone runs along the last axis; the groups are those of ONNX's QuantizeLinear. All in float32:
        value = code * scale. Symmetric: scale = amax / max, so INT8 never uses -128. symmetric=False, for integers:
        scale = (highest - lowest) / (max - min) over a range that holds 0, and a zero point z: x = (code - z) * scale.
        scale: given scales (scalar or one per group); values beyond saturate. All-zero groups get scale 1.
        partial: the last block of an axis may be shorter; else it is a ValueError, as are NaN and infinity.
        double_quantize: the scales, less their mean, in blocks of 256 as FP8_E4M3 (QLoRA, arXiv 2305.14314, section 3).
        """
        from trtlab.numeric import quantize

        return quantize.quantize(
            self, values, axis, block, scale, symmetric, rounding, generator, partial, double_quantize
        )

    def __str__(self) -> str:
        return self.name or type(self).__name__


@dataclass(frozen=True, kw_only=True)
class FloatFormat(Format):
    """Sign, exponent, mantissa: value = (-1)^s * 2^(e - bias) * (1 + m / 2^mantissa_bits).

    bias: default 2^(exponent_bits - 1) - 1. has_infinity, top_nans: per sign, the highest `top_nans` codes are NaN and
    the one below is infinity; default IEEE 754, where they fill the highest exponent, and no NaN without infinity.
    has_negative_zero=False: the code of -0 is a NaN (FNUZ). has_subnormals=False: exponent 0 is one more binade of
    normal numbers, and there is no zero (E8M0). Every value must be a float64.

    >>> FloatFormat(exponent_bits=4, mantissa_bits=3, has_infinity=False, top_nans=1).max
    448.0
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int = None  # type: ignore[assignment]  # filled in below
    is_signed: bool = True
    has_infinity: bool = True
    top_nans: int = None  # type: ignore[assignment]  # filled in below
    has_negative_zero: bool = True
    has_subnormals: bool = True
    padding_bits: int = 0

    def __post_init__(self) -> None:
        self._check_fields(exponent_bits=(1, 11), mantissa_bits=(0, 52), padding_bits=(0, 52))
        nans = (1 << self.mantissa_bits) - 1 if self.has_infinity else 0
        defaults = {"bias": (1 << (self.exponent_bits - 1)) - 1, "top_nans": nans}
        for key, value in defaults.items():
            if getattr(self, key) is None:
                object.__setattr__(self, key, value)
        if not self.is_signed:
            object.__setattr__(self, "has_negative_zero", False)
        self._check_fields(top_nans=(0, 1 << 63), bias=(-2048, 2048))
        self._check_range()

    def _check_fields(self, **ranges: tuple[int, int]) -> None:
        for key, (low, high) in ranges.items():
            if type(value := getattr(self, key)) is not int or not low <= value <= high:
                raise ValueError(f"{key} is an integer from {low} to {high}: got {value!r}")

    def _check_range(self) -> None:
        if self.max_code < self.has_subnormals:
            raise ValueError(
                f"{self.exponent_bits} exponent and {self.mantissa_bits} mantissa bits leave no finite number but zero "
                f"beside top_nans={self.top_nans}, has_infinity={self.has_infinity}; add bits or drop special codes"
            )
        if self.is_signed and not self.has_subnormals and not self.has_negative_zero:
            raise ValueError(
                "has_negative_zero=False gives the code of -0 to NaN, but has_subnormals=False leaves no zero; "
                "use top_nans for NaN"
            )
        highest = self.max_exponent
        lowest = 1 - self.bias if self.has_subnormals else -self.bias
        if highest > 1023 or lowest < -1022:
            raise ValueError(
                f"every value must be a float64, with exponents -1022 to 1023: got {lowest} to {highest}; "
                "use fewer exponent bits or another bias"
            )
        if self.bits + self.padding_bits > 64:
            raise ValueError(f"a code has at most 64 bits: got {self.bits} and {self.padding_bits} of padding")

    @property
    def bits(self) -> int:
        return self.is_signed + self.exponent_bits + self.mantissa_bits

    @property
    def magnitude_bits(self) -> int:
        return self.exponent_bits + self.mantissa_bits

    @property
    def max_code(self) -> int:
        """The code of the largest finite value: below infinity, which is below the NaNs."""
        return (1 << self.magnitude_bits) - 1 - self.top_nans - self.has_infinity

    @property
    def max_exponent(self) -> int:
        """The power of two at or below the largest value."""
        return (self.max_code >> self.mantissa_bits) - self.bias

    @property
    def infinity_code(self) -> int | None:
        return self.max_code + 1 if self.has_infinity else None

    @property
    def nan_code(self) -> int | None:
        """The NaN that encode gives (without sign): IEEE's quiet one, all ones, or the code of -0; None without NaN."""
        if self.top_nans:
            return (1 << self.magnitude_bits) - (1 << (self.top_nans.bit_length() - 1))
        return 1 << self.magnitude_bits if self.is_signed and not self.has_negative_zero else None

    @property
    def max(self) -> float:
        return self._magnitude(self.max_code)

    @property
    def min(self) -> float:
        """The lowest finite value."""
        return -self.max if self.is_signed else self._magnitude(0)

    @property
    def min_normal(self) -> float:
        return self._magnitude(1 << self.mantissa_bits if self.has_subnormals else 0)

    @property
    def min_subnormal(self) -> float | None:
        return self._magnitude(1) if self.has_subnormals and self.mantissa_bits else None

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next larger value of this precision."""
        return 2.0**-self.mantissa_bits

    @property
    def infinity_codes(self) -> int:
        return self.has_infinity * (1 + self.is_signed)

    @property
    def nan_codes(self) -> int:
        return self.top_nans * (1 + self.is_signed) + (self.is_signed and not self.has_negative_zero)

    @property
    def finite_codes(self) -> int:
        """Codes of finite values; +0 and -0 count as two."""
        return (1 << self.bits) - self.infinity_codes - self.nan_codes

    @property
    def decimal_digits(self) -> int:
        """Decimal digits that always survive text -> format -> text (6 for FP32, 15 for FP64)."""
        return math.floor(self.mantissa_bits * math.log10(2))

    @property
    def round_trip_digits(self) -> int:
        """Decimal digits that always carry format -> text -> format (9 for FP32, 17 for FP64)."""
        return math.ceil((self.mantissa_bits + 1) * math.log10(2)) + 1

    def _magnitude(self, code: int) -> float:
        from trtlab.numeric import exact

        return float(exact.magnitude(self, code))


@dataclass(frozen=True, kw_only=True)
class IntegerFormat(Format):
    """Whole numbers, two's complement where signed. Codes are bits: INT8's -1 is 0xFF. No infinity, no NaN, no -0."""

    bits: int
    is_signed: bool = True

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not 2 <= self.bits <= 16:
            raise ValueError(f"an integer format has 2 to 16 bits: got {self.bits!r}")

    @property
    def max(self) -> int:
        return (1 << (self.bits - self.is_signed)) - 1

    @property
    def min(self) -> int:
        return -(1 << (self.bits - 1)) if self.is_signed else 0


@dataclass(frozen=True, kw_only=True)
class CodeBook(Format):
    """Any ascending list of float32 values; a code is the place in it. Nearest rounding ties go to the even code."""

    entries: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(float(value) for value in self.entries))
        rising = all(low < high for low, high in zip(self.entries, self.entries[1:], strict=False))
        if not rising or not 2 <= len(self.entries) <= 256 or not all(map(math.isfinite, self.entries)):
            raise ValueError(f"a code book holds 2 to 256 finite values, ascending: got {self.entries}")
        if len(self.entries) & (len(self.entries) - 1):
            raise ValueError(f"a code book fills its bits, so it has 2^k entries: got {len(self.entries)}")
        with np.errstate(over="ignore"):
            are_float32 = np.array_equal(np.array(self.entries, np.float32), np.array(self.entries))
        if not are_float32:
            raise ValueError(f"a code book's entries are float32 values: got {self.entries}; round them first")

    @property
    def bits(self) -> int:
        return len(self.entries).bit_length() - 1

    @property
    def max(self) -> float:
        return self.entries[-1]

    @property
    def min(self) -> float:
        return self.entries[0]


@dataclass(frozen=True, kw_only=True)
class BlockFormat(Format):
    """`block_size` elements share a scale: value = element * 2^element_exponent * scale (* a float32 per tensor).

    A scale format without mantissa (E8M0) holds powers of two, chosen as OCP MX 1.0 says; any other holds amax / max.
    tensor_scale: one float32, amax / (largest element * largest scale), so that block scales use their whole range.

    >>> BlockFormat(element=FORMATS["INT4"], block_size=128, scale=FORMATS["FP16"]).bits_per_value
    4.125
    """

    element: Format
    block_size: int
    scale: FloatFormat
    tensor_scale: bool = False
    element_exponent: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.element, FloatFormat | IntegerFormat | CodeBook):
            raise TypeError(f"element is a FloatFormat, IntegerFormat or CodeBook: got {self.element!r}")
        if not isinstance(self.scale, FloatFormat):
            raise TypeError(f"scale is a FloatFormat: got {self.scale!r}")
        if self.element.max <= 0:
            raise ValueError(f"scales come from the largest element, so it is above 0: got {self.element.max}")
        if type(self.block_size) is not int or self.block_size < 1:
            raise ValueError(f"block_size is an integer from 1 on: got {self.block_size!r}")

    @property
    def bits(self) -> int:
        return self.element.bits

    @property
    def bits_per_value(self) -> float:
        """Element bits and the value's share of the block's scale; the tensor's scale is left out."""
        return self.element.bits + self.scale.bits / self.block_size

    @property
    def element_max(self) -> float:
        """The largest element with its fixed exponent: 6 for FP4_E2M1, 127/64 for MXINT8."""
        return float(self.element.max * 2.0**self.element_exponent)

    @property
    def max(self) -> float:
        """The largest value, where the tensor's scale is 1."""
        return self.element_max * self.scale.max

    @property
    def min(self) -> float:
        return float(self.element.min * 2.0**self.element_exponent) * self.scale.max

    def quantize(  # type: ignore[override]  # block size and scale format are in the description
        self,
        values: npt.ArrayLike,
        axis: int = -1,
        *,
        scale_rounding: Literal["floor", "ceil"] = "floor",
        scale_floor: float | None = None,
        tensor_scale: float | None = None,
        rounding: Rounding = "nearest_even",
        generator: np.random.Generator | None = None,
        partial: bool = False,
    ) -> "Quantized":
        """Codes, scales and the tensor's scale for blocks along `axis`, computed in float32.

        Power-of-two scales, where 2^e <= amax < 2^(e+1) and the largest element lies in the binade of 2^emax:
        scale_rounding="floor" takes 2^(e - emax), and the largest values may saturate (OCP MX 1.0, section 6.3); "ceil"
        takes the smallest power of two with amax / scale <= largest element (cuBLAS: 1D block quantization; ModelOpt).
        Other scales: amax / (largest element * tensor scale), rounded to nearest even.
        scale_floor: the least scale; default the scale format's smallest value (2^-9 for E4M3, as ModelOpt; torchao
        takes 2^-6). An all-zero block gets scale 1, or the least power of two.
        tensor_scale: one from calibration; default amax / (largest element * largest scale): amax / 2688 for NVFP4.
        partial: the last block of an axis may be shorter; else it is a ValueError, as are NaN and infinity. Signed
        integers are symmetric: MXINT8 never uses -128.
        """
        from trtlab.numeric import quantize

        return quantize.quantize_blocks(
            self, values, axis, scale_rounding, scale_floor, tensor_scale, rounding, generator, partial
        )


def normal_float_entries(bits: int = 4, offset: float = 0.9677083) -> tuple[float, ...]:
    """NF4's table: quantiles of N(0, 1), one more above zero than below, divided by the largest.

    Dettmers et al., QLoRA (arXiv 2305.14314), section 3; `offset` is the mean of 1 - 1/30 and 1 - 1/32, as in
    bitsandbytes. Only with torch's way to a float32 linspace, filled from both ends, do all bits agree with theirs.
    """
    half = 1 << (bits - 1)
    positive = [_quantile(p) for p in _linspace(offset, half + 1)[:-1]]
    negative = [-_quantile(p) for p in _linspace(offset, half)[:-1]]
    values = np.sort(np.array([*negative, 0.0, *positive], np.float32))
    return tuple((values / values[-1]).tolist())


def _linspace(start: float, count: int) -> Sequence[np.float32]:
    """From `start` to 0.5 in float32, the first half counted from the start, the second from the end."""
    first, last = np.float32(start), np.float32(0.5)
    step = np.float32((last - first) / np.float32(count - 1))
    places = [(first + step * np.float32(i), last - step * np.float32(count - 1 - i)) for i in range(count)]
    return [low if i < count // 2 else high for i, (low, high) in enumerate(places)]


def _quantile(probability: np.float32) -> float:
    return statistics.NormalDist().inv_cdf(float(probability))


_NO_INFINITY = {"has_infinity": False}
_FNUZ = {"has_infinity": False, "has_negative_zero": False}
_E8M0 = {"bias": 127, "is_signed": False, "has_infinity": False, "top_nans": 1, "has_subnormals": False}


def _float(name: str, exponent_bits: int, mantissa_bits: int, **facts: Any) -> FloatFormat:
    return FloatFormat(name=name, exponent_bits=exponent_bits, mantissa_bits=mantissa_bits, **facts)


# FP8: OCP OFP8 1.0. FP6, FP4, E8M0: OCP Microscaling (MX) 1.0. FNUZ: arXiv 2206.02915. The rest: IEEE 754, its scheme.
FLOATS = (
    _float("FP64", 11, 52),
    _float("FP32", 8, 23),
    _float("TF32", 8, 10, padding_bits=13),
    _float("FP16", 5, 10),
    _float("BF16", 8, 7),
    _float("FP8_E4M3", 4, 3, has_infinity=False, top_nans=1),
    _float("FP8_E5M2", 5, 2),
    _float("FP8_E4M3_IEEE", 4, 3),
    _float("FP8_E3M4", 3, 4),
    _float("FP8_E4M3_FNUZ", 4, 3, bias=8, **_FNUZ),
    _float("FP8_E5M2_FNUZ", 5, 2, bias=16, **_FNUZ),
    _float("FP6_E3M2", 3, 2, **_NO_INFINITY),
    _float("FP6_E2M3", 2, 3, **_NO_INFINITY),
    _float("FP4_E2M1", 2, 1, **_NO_INFINITY),
    _float("E8M0", 8, 0, **_E8M0),
)
INTEGERS = (
    IntegerFormat(name="INT8", bits=8),
    IntegerFormat(name="UINT8", bits=8, is_signed=False),
    IntegerFormat(name="INT4", bits=4),
    IntegerFormat(name="UINT4", bits=4, is_signed=False),
)
CODE_BOOKS = (CodeBook(name="NF4", entries=normal_float_entries()),)
ELEMENTS = (*FLOATS, *INTEGERS, *CODE_BOOKS)
_KNOWN: dict[str, Any] = {each.name: each for each in ELEMENTS}


def _blocks(name: str, element: Format, scale: FloatFormat, block_size: int = 32, **facts: Any) -> BlockFormat:
    return BlockFormat(name=name, element=element, scale=scale, block_size=block_size, **facts)


# MX: OCP Microscaling (MX) 1.0, table 1; MXINT8's elements are multiples of 1/64. NVFP4: TensorRT, ModelOpt.
BLOCKS = (
    _blocks("MXFP8_E4M3", _KNOWN["FP8_E4M3"], _KNOWN["E8M0"]),
    _blocks("MXFP8_E5M2", _KNOWN["FP8_E5M2"], _KNOWN["E8M0"]),
    _blocks("MXFP6_E3M2", _KNOWN["FP6_E3M2"], _KNOWN["E8M0"]),
    _blocks("MXFP6_E2M3", _KNOWN["FP6_E2M3"], _KNOWN["E8M0"]),
    _blocks("MXFP4", _KNOWN["FP4_E2M1"], _KNOWN["E8M0"]),
    _blocks("MXINT8", _KNOWN["INT8"], _KNOWN["E8M0"], element_exponent=-6),
    _blocks("NVFP4", _KNOWN["FP4_E2M1"], _KNOWN["FP8_E4M3"], 16, tensor_scale=True),
)

FORMATS: dict[str, Format] = _KNOWN | {each.name: each for each in BLOCKS}

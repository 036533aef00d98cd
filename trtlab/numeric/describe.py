"""numeric/describe: a number format as a frozen description; everything else about it is derived.

In: a few stored facts (bits, bias, which codes are special). Out: `FloatFacts`, `IntegerFacts`, `BookFacts`,
`BlockFacts`, which `formats` gives arrays and names. `exact` says what their codes mean.
"""

import functools
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

Rounding = Literal["nearest_even", "nearest_away", "toward_zero", "up", "down", "stochastic"]
Overflow = Literal["saturate", "ieee"]


@functools.cache
def power_of_two(exponent: int) -> Fraction:
    """2^exponent, exactly; kept, since a search for the nearest code asks for the same few again and again."""
    return Fraction(2) ** exponent


@dataclass(frozen=True, kw_only=True)
class FormatFacts:
    """What every format has: a name, and codes of `bits` bits in unsigned integers."""

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
        def fields(self) -> list[tuple[str, int]]:
            """Kind and width of each part of a code, from the highest bit down."""

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
        codes = range(0, 1 << (self.bits + self.padding_bits), 1 << self.padding_bits)
        if code not in codes:
            steps = f", multiples of {codes.step:#x}" if self.padding_bits else ""
            raise ValueError(
                f"{self} has codes 0 to {codes[-1]:#x}{steps}: got {code:#x}; a two's complement integer is turned "
                f"into a code by `& {codes[-1]:#x}`, a value by encode"
            )

    def __str__(self) -> str:
        return self.name or type(self).__name__


@dataclass(frozen=True, kw_only=True)
class FloatFacts(FormatFacts):
    """Sign, exponent, mantissa: value = (-1)^s * 2^(e - bias) * (1 + m / 2^mantissa_bits).

    bias: default 2^(exponent_bits - 1) - 1. has_infinity, top_nans: per sign, the highest `top_nans` codes are NaN and
    the one below is infinity; default IEEE 754, where they fill the highest exponent, and no NaN without infinity.
    has_negative_zero=False: the code of -0 is a NaN (FNUZ). has_subnormals=False: exponent 0 is one more binade of
    normal numbers, and there is no zero (E8M0). Every value must be a float64.
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
    def fields(self) -> list[tuple[str, int]]:
        widths = {"sign": int(self.is_signed), "exponent": self.exponent_bits, "mantissa": self.mantissa_bits}
        return [(kind, width) for kind, width in {**widths, "padding": self.padding_bits}.items() if width]

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
        return float(self.magnitude(self.max_code))

    @property
    def min(self) -> float:
        """The lowest finite value."""
        return -self.max if self.is_signed else float(self.magnitude(0))

    @property
    def min_normal(self) -> float:
        return float(self.magnitude(1 << self.mantissa_bits if self.has_subnormals else 0))

    @property
    def min_subnormal(self) -> float | None:
        return float(self.magnitude(1)) if self.has_subnormals and self.mantissa_bits else None

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next larger value of this precision."""
        return 2.0**-self.mantissa_bits

    @property
    def nan_codes(self) -> int:
        return self.top_nans * (1 + self.is_signed) + (self.is_signed and not self.has_negative_zero)

    @property
    def decimal_digits(self) -> int:
        """Decimal digits that always survive text -> format -> text (6 for FP32, 15 for FP64)."""
        return math.floor(self.mantissa_bits * math.log10(2))

    def magnitude(self, code: int) -> Fraction:
        """The value of a code without its sign, if none were special: beyond the largest the binades simply go on."""
        exponent, mantissa = divmod(code, 1 << self.mantissa_bits)
        if exponent == 0 and self.has_subnormals:
            return mantissa * power_of_two(1 - self.bias - self.mantissa_bits)
        return ((1 << self.mantissa_bits) + mantissa) * power_of_two(exponent - self.bias - self.mantissa_bits)


@dataclass(frozen=True, kw_only=True)
class IntegerFacts(FormatFacts):
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

    @property
    def fields(self) -> list[tuple[str, int]]:
        return [("sign", 1), ("value", self.bits - 1)] if self.is_signed else [("value", self.bits)]


@dataclass(frozen=True, kw_only=True)
class BookFacts(FormatFacts):
    """Any ascending list of float32 values; a code is the place in it. Nearest rounding ties go to the even code."""

    entries: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(float(value) for value in self.entries))
        with np.errstate(over="ignore"):
            rounded = np.array(self.entries, np.float32)
        is_rising = np.isfinite(rounded).all() and sorted({*rounded.tolist()}) == [*self.entries]
        if not is_rising or not 2 <= len(self.entries) <= 256 or len(self.entries).bit_count() > 1:
            raise ValueError(
                "a code book holds 2, 4, 8, 16, 32, 64, 128 or 256 finite float32 values, ascending: got "
                f"{len(self.entries)}, {self.entries}; round them to float32 first"
            )

    @property
    def bits(self) -> int:
        return len(self.entries).bit_length() - 1

    @property
    def max(self) -> float:
        return self.entries[-1]

    @property
    def min(self) -> float:
        return self.entries[0]

    @property
    def fields(self) -> list[tuple[str, int]]:
        return [("index", self.bits)]


@dataclass(frozen=True, kw_only=True)
class BlockFacts(FormatFacts):
    """`block_size` elements share a scale: value = element * 2^element_exponent * scale (* a float32 per tensor).

    A scale format without mantissa (E8M0) holds powers of two, chosen as OCP MX 1.0 says; any other holds amax / max.
    tensor_scale: one float32, amax / (largest element * largest scale), so that block scales use their whole range.
    """

    element: FormatFacts
    block_size: int
    scale: FloatFacts
    tensor_scale: bool = False
    element_exponent: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.element, FloatFacts | IntegerFacts | BookFacts):
            raise TypeError(f"element is a FloatFormat, IntegerFormat or CodeBook: got {self.element!r}")
        if not isinstance(self.scale, FloatFacts):
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

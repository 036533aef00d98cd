"""numeric/exact: what every code means, which code every real number becomes. Slow, obviously right: the specification.

In: a description, Python integers, reals. Out: `Decoded`; `Fraction`s, or a `Special` for what is no fraction.
`codec` is checked against this file; this file is checked against ml_dtypes, NumPy and the published tables.
"""

import bisect
import enum
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

import numpy as np

from trtlab.numeric.describe import BookFacts, FloatFacts, FormatFacts, IntegerFacts, Overflow, Rounding


class Special(enum.Enum):
    """The values that no fraction is."""

    NEGATIVE_ZERO = "-0"
    INFINITY = "inf"
    NEGATIVE_INFINITY = "-inf"
    NAN = "nan"


Real = Fraction | Special


# --- reading numbers -------------------------------------------------------------------------------------------------


def real(value: Any) -> Real:
    """The exact number that an int, float, NumPy scalar, Fraction, Special or text stands for.

    Text may be decimal (`-1.5e3`), a fraction (`1/3`), hexadecimal (`0x1.8p3`), `inf` or `nan`; else ValueError.
    """
    if isinstance(value, Special | Fraction):
        return value
    if isinstance(value, str):
        return _real_from_text(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"a real number is an int, float, Fraction or text: got {type(value).__name__} {value!r}")
    if isinstance(value, int | np.integer):
        return Fraction(int(value))
    if math.isnan(value):
        return Special.NAN
    if math.isinf(value):
        return Special.INFINITY if value > 0 else Special.NEGATIVE_INFINITY
    if value == 0 and math.copysign(1, value) < 0:
        return Special.NEGATIVE_ZERO
    return Fraction(*value.as_integer_ratio())


_HEXADECIMAL = re.compile(r"([+-]?)0x([0-9a-f]*)(?:\.([0-9a-f]*))?(?:p([+-]?[0-9]+))?", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+/[0-9]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e([+-]?[0-9]+))?)", re.ASCII)
_MOST_CHARACTERS = 4000
_MOST_EXPONENT = 20_000  # beyond every format; a million digits would only keep a reader waiting


def _real_from_text(text: str) -> Real:
    word = text.strip().lower().replace("−", "-")
    if word.lstrip("+-") in ("inf", "infinity", "∞", "nan") and len(word) - len(word.lstrip("+-")) < 2:
        kind = Special.INFINITY if word[0] != "-" else Special.NEGATIVE_INFINITY
        return Special.NAN if word.endswith("nan") else kind
    try:
        value = _fraction_from_text(word)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(
            f"no number: {text[:60]!r}; expected decimal (1.5e-3), a fraction (1/3), hexadecimal (0x1.8p3), inf or nan"
        ) from None
    return Special.NEGATIVE_ZERO if value == 0 and word.startswith("-") else value


def _fraction_from_text(word: str) -> Fraction:
    found = _HEXADECIMAL.fullmatch(word)
    sign, whole, part, exponent = found.groups("") if found else ("", "", "", "")
    decimal = _DECIMAL.fullmatch(word)
    if len(word) > _MOST_CHARACTERS or abs(int(exponent or (decimal and decimal[1]) or 0)) > _MOST_EXPONENT:
        raise OverflowError
    if whole + part:
        return Fraction(int(f"{sign}{whole}{part}", 16)) * Fraction(2) ** (int(exponent or 0) - 4 * len(part))
    if decimal is None:
        raise ValueError
    return Fraction(word)


# --- code to value ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What one code means, and how it stands among the others.

    kind: `zero`, `subnormal`, `normal`, `infinity`, `NaN`; `integer` and `table entry` in formats without exponent.
    fields: the number in each part of the code. A float's value is sign * significand * 2^exponent.
    """

    fmt: FormatFacts
    code: int
    value: Real
    kind: str
    fields: dict[str, int]

    @property
    def fraction(self) -> Fraction | None:
        """The value, -0 as 0; None for infinity and NaN."""
        return as_fraction(self.value)

    @property
    def is_small(self) -> bool:
        """Whether a float has no leading 1: its exponent field is 0, and the format has subnormals."""
        return isinstance(self.fmt, FloatFacts) and self.fmt.has_subnormals and not self.fields["exponent"]

    @property
    def exponent(self) -> int | None:
        """The power of two that a finite float's significand is multiplied with."""
        if not isinstance(self.fmt, FloatFacts) or self.fraction is None:
            return None
        return (1 if self.is_small else self.fields["exponent"]) - self.fmt.bias

    @property
    def significand(self) -> Fraction | None:
        """1 and the mantissa as a fraction, 0 and the mantissa for small ones; of a finite float."""
        if not isinstance(self.fmt, FloatFacts) or self.fraction is None:
            return None
        return (not self.is_small) + Fraction(self.fields.get("mantissa", 0), 1 << self.fmt.mantissa_bits)

    @property
    def ulp(self) -> Fraction | None:
        """The step to the next value away from zero (in a table: to the next entry); None for infinity and NaN."""
        if self.exponent is not None and isinstance(self.fmt, FloatFacts):
            return Fraction(2) ** (self.exponent - self.fmt.mantissa_bits)
        if isinstance(self.fmt, BookFacts):
            low = min(self.code, len(self.fmt.entries) - 2)
            return Fraction(self.fmt.entries[low + 1]) - Fraction(self.fmt.entries[low])
        return None if self.fraction is None else Fraction(1)

    def neighbour(self, step: int) -> int | None:
        """The code of the next value up (step 1) or down (-1); None at the ends and for NaN."""
        fmt, code = self.fmt, self.code >> self.fmt.padding_bits
        if self.kind == "NaN":
            return None
        if isinstance(fmt, FloatFacts):
            return _float_neighbour(fmt, code, step)
        place = code - (1 << fmt.bits) if isinstance(fmt, IntegerFacts) and code > fmt.max else code
        low, high = (fmt.min, fmt.max) if isinstance(fmt, IntegerFacts) else (0, (1 << fmt.bits) - 1)
        return (place + step) & ((1 << fmt.bits) - 1) if low <= place + step <= high else None


def as_fraction(value: Real) -> Fraction | None:
    """`value`, -0 as 0; None for infinity and NaN."""
    if isinstance(value, Fraction):
        return value
    return Fraction(0) if value is Special.NEGATIVE_ZERO else None


def decode(fmt: FormatFacts, code: int) -> Decoded:
    """What `code` means. ValueError beyond the format."""
    fmt.check_code(code)
    fields, left = {}, code
    for kind, width in reversed(fmt.fields):
        fields[kind], left = left & ((1 << width) - 1), left >> width
    value = _value(fmt, code >> fmt.padding_bits)
    kind = _kind(fmt, value, fields)
    return Decoded(fmt=fmt, code=code, value=value, kind=kind, fields=dict(reversed(fields.items())))


def _value(fmt: FormatFacts, code: int) -> Real:
    match fmt:
        case FloatFacts():
            return _float_value(fmt, code)
        case IntegerFacts():
            return Fraction(code - (1 << fmt.bits) if code > fmt.max else code)
        case BookFacts():
            return Fraction(fmt.entries[code])
    raise unknown(fmt)


def _float_value(fmt: FloatFacts, code: int) -> Real:
    is_negative, unsigned = divmod(code, 1 << fmt.magnitude_bits)
    if unsigned == fmt.infinity_code:
        return Special.NEGATIVE_INFINITY if is_negative else Special.INFINITY
    if unsigned > fmt.max_code or (is_negative and unsigned == 0 and not fmt.has_negative_zero):
        return Special.NAN
    value = fmt.magnitude(unsigned)
    if is_negative:
        return -value if value else Special.NEGATIVE_ZERO
    return value


def _kind(fmt: FormatFacts, value: Real, fields: dict[str, int]) -> str:
    if (number := as_fraction(value)) is None:
        return "NaN" if value is Special.NAN else "infinity"
    if number == 0:
        return "zero"
    if isinstance(fmt, FloatFacts):
        return "subnormal" if fmt.has_subnormals and not fields["exponent"] else "normal"
    return "integer" if isinstance(fmt, IntegerFacts) else "table entry"


def _float_neighbour(fmt: FloatFacts, code: int, step: int) -> int | None:
    """Codes count sizes; places count along the number line, where both zeros stand at 0."""
    sign, size = divmod(code, 1 << fmt.magnitude_bits)
    shift = 0 if fmt.has_subnormals else 1
    place = (-size - shift if sign else size) + step
    last = fmt.max_code + fmt.has_infinity
    if not (-last - shift if fmt.is_signed else 0) <= place <= last:
        return None
    found = place if place >= 0 else 1 << fmt.magnitude_bits | -place - shift
    return found << fmt.padding_bits


# --- value to code ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Step:
    """How to leave the gap between two neighbouring values: `fraction` of the way from the one nearer zero."""

    rounding: Rounding
    draw: int  # 32 random bits for "stochastic"

    def is_away(self, fraction: Fraction, *, near_is_odd: bool, is_negative: bool) -> bool:
        """Whether to take the neighbour farther from zero."""
        match self.rounding:
            case "nearest_even":
                return fraction > Fraction(1, 2) or (fraction == Fraction(1, 2) and near_is_odd)
            case "nearest_away":
                return fraction >= Fraction(1, 2)
            case "toward_zero":
                return False
            case "up":
                return fraction > 0 and not is_negative
            case "down":
                return fraction > 0 and is_negative
            case "stochastic":
                return self.draw < fraction * 2**32


def encode(
    fmt: FormatFacts,
    value: Any,
    rounding: Rounding = "nearest_even",
    overflow: Overflow = "saturate",
    generator: np.random.Generator | None = None,
) -> int:
    """The code of any real number, rounded once. The rules of overflow, NaN and zero stand at `codec.encode`."""
    check_modes(rounding, overflow, generator)
    draw = 0
    if rounding == "stochastic" and generator is not None:
        draw = int(generator.integers(0, 1 << 32, size=1, dtype=np.uint32)[0])
    number, step = real(value), _Step(rounding=rounding, draw=draw)
    match fmt:
        case FloatFacts():
            return _encode_float(fmt, number, step, overflow) << fmt.padding_bits
        case IntegerFacts():
            return _encode_integer(fmt, number, step, overflow) & ((1 << fmt.bits) - 1)
        case BookFacts():
            return _encode_entry(fmt, number, step, overflow)
    raise unknown(fmt)


def check_modes(rounding: str, overflow: str, generator: np.random.Generator | None) -> None:
    """ValueError for an unknown mode, or stochastic rounding without a generator."""
    for what, word, known in (("rounding", rounding, Rounding), ("overflow", overflow, Overflow)):
        if word not in get_args(known):
            raise ValueError(f"{what} is one of {', '.join(get_args(known))}: got {word!r}")
    if rounding == "stochastic" and not hasattr(generator, "integers"):
        raise ValueError(f"rounding='stochastic' needs generator=numpy.random.default_rng(seed): got {generator!r}")


def unknown(fmt: FormatFacts) -> TypeError:
    """The error for what has no codes of single numbers."""
    return TypeError(
        f"no rule for {type(fmt).__name__}; expected FloatFormat, IntegerFormat or CodeBook (blocks have quantize)"
    )


def refusal(fmt: FormatFacts, value: Any) -> ValueError:
    """The error for a number that has no code in `fmt`."""
    if real(value) is Special.NAN:
        return ValueError(f"{fmt} has no NaN: got {value}; replace it first, for example with numpy.nan_to_num")
    return ValueError(
        f"{fmt} has neither infinity nor NaN for values beyond {fmt.min} to {fmt.max}: got {_short_text(value)} with "
        "overflow='ieee'; use overflow='saturate'"
    )


def _short_text(value: Any) -> str:
    """A number for a sentence: a fraction as a float, where it is one."""
    try:
        return str(float(value))
    except OverflowError:
        return f"a number of {len(str(abs(value.numerator) // value.denominator))} digits"


def _encode_float(fmt: FloatFacts, number: Real, step: _Step, overflow: Overflow) -> int:
    is_negative = number in (Special.NEGATIVE_ZERO, Special.NEGATIVE_INFINITY) or (
        isinstance(number, Fraction) and number < 0
    )
    if number is Special.NAN:
        return _special_code(fmt, fmt.nan_code, number, is_negative=False)
    is_infinite = number in (Special.INFINITY, Special.NEGATIVE_INFINITY)
    size = abs(number) if isinstance(number, Fraction) else Fraction(0)
    code = fmt.max_code + 1 if is_infinite else _rounded_magnitude(fmt, size, step, is_negative=is_negative)
    beyond_least = (is_negative and not fmt.is_signed and (code > 0 or not fmt.has_subnormals)) or (
        size == 0 and not is_infinite and not fmt.has_subnormals
    )
    if beyond_least and overflow == "ieee":
        return _special_code(fmt, fmt.nan_code, number, is_negative=is_negative)
    if beyond_least and not fmt.is_signed:
        return 0
    if code > fmt.max_code:
        stays = step.rounding == "toward_zero" or step.rounding == ("up" if is_negative else "down")
        if overflow == "ieee" and (is_infinite or not stays):
            special = fmt.infinity_code if fmt.has_infinity else fmt.nan_code
            return _special_code(fmt, special, number, is_negative=is_negative)
        code = fmt.max_code
    return _signed(fmt, code, is_negative=is_negative)


def _rounded_magnitude(fmt: FloatFacts, size: Fraction, step: _Step, *, is_negative: bool) -> int:
    """The code without sign; max_code + 1 stands for everything that rounds beyond the largest value."""
    if size < fmt.magnitude(0):
        return 0
    rungs = range(fmt.max_code + 2)
    near = bisect.bisect_right(rungs, size, key=fmt.magnitude) - 1
    if near > fmt.max_code:
        return near
    low, high = fmt.magnitude(near), fmt.magnitude(near + 1)
    return near + step.is_away((size - low) / (high - low), near_is_odd=near % 2 == 1, is_negative=is_negative)


def _signed(fmt: FloatFacts, code: int, *, is_negative: bool) -> int:
    """`code` with its sign where there is one; the code of -0 is +0 where -0 does not exist."""
    if not is_negative or not fmt.is_signed or (code == 0 and not fmt.has_negative_zero):
        return code
    return code | 1 << fmt.magnitude_bits


def _special_code(fmt: FloatFacts, code: int | None, number: Real, *, is_negative: bool) -> int:
    if code is None:
        raise refusal(fmt, number if isinstance(number, Fraction) else number.value)
    return _signed(fmt, code, is_negative=is_negative)


def _finite(fmt: IntegerFacts | BookFacts, number: Real, overflow: Overflow) -> Fraction:
    """`number`, or for infinities the end of the range; ValueError for NaN and for infinities that may not saturate."""
    if isinstance(number, Fraction):
        return number
    if number is Special.NEGATIVE_ZERO:
        return Fraction(0)
    if number is Special.NAN or overflow == "ieee":
        raise refusal(fmt, number.value)
    return Fraction(fmt.max if number is Special.INFINITY else fmt.min)


def _encode_integer(fmt: IntegerFacts, number: Real, step: _Step, overflow: Overflow) -> int:
    value = _finite(fmt, number, overflow)
    near = math.floor(abs(value))
    away = step.is_away(abs(value) - near, near_is_odd=near % 2 == 1, is_negative=value < 0)
    whole = (near + away) * (-1 if value < 0 else 1)
    if overflow == "ieee" and not fmt.min <= whole <= fmt.max:
        raise refusal(fmt, value)
    return max(fmt.min, min(fmt.max, whole))


def _encode_entry(fmt: BookFacts, number: Real, step: _Step, overflow: Overflow) -> int:
    value = _finite(fmt, number, overflow)
    if overflow == "ieee" and not fmt.min <= value <= fmt.max:
        raise refusal(fmt, value)
    below = bisect.bisect_right(fmt.entries, value) - 1
    if below < 0 or below == len(fmt.entries) - 1 or value == fmt.entries[below]:
        return max(below, 0)
    low, high = Fraction(fmt.entries[below]), Fraction(fmt.entries[below + 1])
    if high <= 0:  # the neighbour nearer zero is the upper one
        fraction = (high - value) / (high - low)
        return below + 1 - step.is_away(fraction, near_is_odd=below % 2 == 0, is_negative=True)
    return below + step.is_away((value - low) / (high - low), near_is_odd=below % 2 == 1, is_negative=False)

"""numeric/exact: what every code means, which code every real number becomes. Slow, obviously right: the specification.

In: a description, Python integers, reals. Out: `Decoded`; `Fraction`s, or a `Special` for what is no fraction.
`codec` is checked against this file; this file is checked against ml_dtypes, NumPy and the published tables.
"""

import bisect
import enum
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

import numpy as np

from trtlab.numeric.describe import BookFacts, FloatFacts, FormatFacts, IntegerFacts, Overflow, Rounding
from trtlab.numeric.units import lowered


class Special(enum.Enum):
    """The values that no fraction is."""

    NEGATIVE_ZERO = "-0"
    INFINITY = "inf"
    NEGATIVE_INFINITY = "-inf"
    NAN = "nan"


Real = Fraction | Special
_HALF = Fraction(1, 2)


# --- reading numbers -------------------------------------------------------------------------------------------------


def real(value: Any) -> Real:
    """The exact number that an int, float, NumPy scalar, Fraction, Special or text stands for.

    Text may be decimal (`-1.5e3`, `65,504`), a fraction (`1/3`), a power (`2^-24`, `2⁻²⁴`), hexadecimal (`0x1.8p3`),
    `inf` or `nan`; else ValueError.
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


_HEXADECIMAL = re.compile(r"([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?[0-9]+))?")
_DECIMAL = re.compile(r"[-+./0-9]*(?:e([+-]?[0-9]+))?")  # the rest is told by Fraction
_WITH_COMMAS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_MOST_CHARACTERS, _MOST_EXPONENT = 4000, 20_000  # beyond every format: more would only keep a reader waiting


def _real_from_text(text: str) -> Real:
    word = lowered(text.strip().lower().replace("−", "-"))
    word = word.replace(",", "") if _WITH_COMMAS.fullmatch(word) else word
    for power, number in (("2^", "0x1p"), ("10^", "1e")):
        word = re.sub(f"^([+-]?){re.escape(power)}", rf"\g<1>{number}", word)
    if re.fullmatch("[+-]?(inf|infinity|∞|nan)", word):
        return real(float(word.replace("∞", "inf")))
    try:
        hexadecimal = _HEXADECIMAL.fullmatch(word)
        found = hexadecimal or _DECIMAL.fullmatch(word)
        if found is None or len(word) > _MOST_CHARACTERS or abs(int(found[found.re.groups] or 0)) > _MOST_EXPONENT:
            raise ValueError
        value = _hexadecimal(*hexadecimal.groups("")) if hexadecimal else Fraction(word)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"no number: {text[:60]!r}; expected decimal (1.5e-3), a fraction (1/3), hexadecimal (0x1.8p3), inf or nan"
        ) from None
    return Special.NEGATIVE_ZERO if value == 0 and word.startswith("-") else value


def _hexadecimal(sign: str, whole: str, part: str, exponent: str) -> Fraction:
    return Fraction(int(f"{sign}{whole}{part}", 16)) * Fraction(2) ** (int(exponent or 0) - 4 * len(part))


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
    fields: dict[str, int]

    @property
    def kind(self) -> str:
        if self.fraction is None:
            return "NaN" if self.value is Special.NAN else "infinity"
        if self.fraction == 0:
            return "zero"
        if isinstance(self.fmt, FloatFacts):
            return "subnormal" if self.is_small else "normal"
        return "integer" if isinstance(self.fmt, IntegerFacts) else "table entry"

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
        if self.fraction is None:
            return None
        place = _place_of(self.fmt, self.code)
        if isinstance(self.fmt, BookFacts):
            place = min(place, len(self.fmt.entries) - 2)
        away = place + (1 if place >= 0 else -1)
        return abs(_at(self.fmt, away) - _at(self.fmt, place))

    def neighbour(self, step: int) -> int | None:
        """The code of the next value up (step 1) or down (-1); None at the ends and for NaN."""
        if self.kind == "NaN":
            return None
        first, last = _ends(self.fmt)
        if isinstance(self.fmt, FloatFacts) and self.fmt.has_infinity:
            first, last = first - self.fmt.is_signed, last + 1
        place = _place_of(self.fmt, self.code) + step
        return _code_at(self.fmt, place) << self.fmt.padding_bits if first <= place <= last else None


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
    value = _special(fmt, code >> fmt.padding_bits) or _at(fmt, _place_of(fmt, code))
    return Decoded(fmt=fmt, code=code, value=value, fields=dict(reversed(fields.items())))


def _special(fmt: FormatFacts, code: int) -> Special | None:
    """Infinity, NaN or -0, if the code is one of them."""
    if not isinstance(fmt, FloatFacts):
        return None
    is_negative, size = divmod(code, 1 << fmt.magnitude_bits)
    if size == fmt.infinity_code:
        return Special.NEGATIVE_INFINITY if is_negative else Special.INFINITY
    if size > fmt.max_code or (is_negative and size == 0 and not fmt.has_negative_zero):
        return Special.NAN
    return Special.NEGATIVE_ZERO if is_negative and fmt.magnitude(size) == 0 else None


# --- the number line -------------------------------------------------------------------------------------------------

# Finite values stand at whole places, in order. A float's places count its codes from zero to both sides (without a
# zero from 0 up and from -1 down); an integer's are its values, a table's its codes.


def _ends(fmt: FormatFacts) -> tuple[int, int]:
    """The places of the lowest and the highest finite value."""
    match fmt:
        case FloatFacts():
            last = fmt.max_code
            return (-last - (not fmt.has_subnormals) if fmt.is_signed else 0), last
        case IntegerFacts():
            return fmt.min, fmt.max
        case BookFacts():
            return 0, len(fmt.entries) - 1
    raise unknown(fmt)


def _at(fmt: FormatFacts, place: int) -> Fraction:
    """The value at a place; floats and integers go on beyond their ends."""
    if isinstance(fmt, FloatFacts):
        return fmt.magnitude(place) if place >= 0 else -fmt.magnitude(-place - (not fmt.has_subnormals))
    return Fraction(fmt.entries[place] if isinstance(fmt, BookFacts) else place)


def _code_at(fmt: FormatFacts, place: int) -> int:
    """The code of the value at a place, without padding."""
    if isinstance(fmt, FloatFacts) and place < 0:
        return -place - (not fmt.has_subnormals) | 1 << fmt.magnitude_bits
    return place & ((1 << fmt.bits) - 1)


def _place_of(fmt: FormatFacts, code: int) -> int:
    code >>= fmt.padding_bits
    if isinstance(fmt, FloatFacts):
        is_negative, size = divmod(code, 1 << fmt.magnitude_bits)
        return -size - (not fmt.has_subnormals) if is_negative else size
    return code - (1 << fmt.bits) if isinstance(fmt, IntegerFacts) and code > fmt.max else code


# --- value to code ---------------------------------------------------------------------------------------------------


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
    number, (first, last) = real(value), _ends(fmt)
    exactly = as_fraction(number)
    is_negative = number.value.startswith("-") if isinstance(number, Special) else number < 0
    place = first - 1 if is_negative else last + 1
    if exactly is not None:
        place = _rounded(fmt, (first, last), exactly, rounding, draw)
    lacks_zero = exactly == 0 and isinstance(fmt, FloatFacts) and not fmt.has_subnormals
    is_beyond = lacks_zero or not first <= place <= last
    if number is Special.NAN or (is_beyond and overflow == "ieee"):
        code = _code_beyond(fmt, number, rounding, is_negative=is_negative, lacks_zero=lacks_zero)
    else:
        code = _code_at(fmt, min(max(place, first), last))
    if isinstance(fmt, FloatFacts) and fmt.is_signed and is_negative and (code or fmt.has_negative_zero):
        code |= 1 << fmt.magnitude_bits
    return code << fmt.padding_bits


def _rounded(fmt: FormatFacts, ends: tuple[int, int], value: Fraction, rounding: Rounding, draw: int) -> int:
    """The place that `value` goes to: one of the two around it, perhaps the first one beyond an end."""
    first, last = ends
    at: Callable[[int], Fraction] = functools.partial(_at, fmt)
    if isinstance(fmt, FloatFacts):
        if abs(value) < fmt.magnitude(0):  # there is no zero
            return 0 if value >= 0 else -1
        at = fmt.magnitude if value >= 0 else at
    side = range(last + 2) if value >= 0 else range(first - 1, 1)
    if isinstance(fmt, BookFacts):
        if not fmt.min <= value <= fmt.max:
            return last + 1 if value > 0 else first - 1
        side = range(last + 1)
    found = bisect.bisect_right(side, value, key=at)
    if found in (0, len(side)):
        return side[max(found - 1, 0)]
    below = side[found - 1]
    low, high = at(below), at(below + 1)
    is_odd = _code_at(fmt, below) % 2 == 1
    return below + _goes_up(rounding, (value - low) / (high - low), draw, is_odd=is_odd, is_positive=high > 0)


def _goes_up(rounding: Rounding, share: Fraction, draw: int, *, is_odd: bool, is_positive: bool) -> bool:
    """Whether a number `share` of the way up from one value to the next becomes the upper one; `is_odd` is the code of
    the lower one. `draw`, 32 random bits, decides whether to go away from zero."""
    match rounding:
        case "nearest_even":
            return share > _HALF or (share == _HALF and is_odd)
        case "nearest_away":
            return share > _HALF or (share == _HALF and is_positive)
        case "toward_zero":
            return share > 0 and not is_positive
        case "up":
            return share > 0
        case "down":
            return False
        case "stochastic":
            return draw < share * 2**32 if is_positive else draw >= (1 - share) * 2**32


def _code_beyond(fmt: FormatFacts, number: Real, rounding: Rounding, *, is_negative: bool, lacks_zero: bool) -> int:
    """The code of NaN, and under overflow="ieee" of what no place stands for; without its sign. ValueError if none."""
    code = None
    if isinstance(fmt, FloatFacts):
        is_nan = number is Special.NAN or lacks_zero or (is_negative and not fmt.is_signed)
        stays = isinstance(number, Fraction) and rounding in ("toward_zero", "up" if is_negative else "down")
        finite = fmt.max_code if stays else fmt.infinity_code
        code = fmt.nan_code if is_nan or finite is None else finite
    if code is None:
        raise refusal(fmt, number if isinstance(number, Fraction) else number.value)
    return code


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

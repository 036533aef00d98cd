"""teach/bitformula: what one code means by itself: its class, the number in each field, the formula filled in.

In: a format and a code. Out: words, and lines of `Part`s that know which field they come from.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from trtlab.numeric.exact import Special, decode
from trtlab.numeric.formats import CodeBook, FloatFormat, Format, IntegerFormat
from trtlab.teach.bitwords import fields, number_text, power_text

Part = tuple[str, str, bool]  # text, kind of the field it comes from, raised


def split(fmt: Format, code: int) -> dict[str, int]:
    """The number in each field."""
    found = {}
    for kind, width in reversed(fields(fmt)):
        found[kind], code = code & ((1 << width) - 1), code >> width
    return dict(reversed(found.items()))


def kind_of(fmt: Format, code: int) -> str:
    """`zero`, `subnormal`, `normal`, `infinity`, `NaN`; `integer` and `table entry` for formats without exponent."""
    value = decode(fmt, code)
    if value in (Special.INFINITY, Special.NEGATIVE_INFINITY):
        return "infinity"
    if value is Special.NAN:
        return "NaN"
    if value in (0, Special.NEGATIVE_ZERO):
        return "zero"
    if isinstance(fmt, FloatFormat):
        return "subnormal" if fmt.has_subnormals and not split(fmt, code)["exponent"] else "normal"
    return "integer" if isinstance(fmt, IntegerFormat) else "table entry"


def formula(fmt: Format, code: int) -> list[list[Part]]:
    """Lines of parts: the rule with this code's numbers, then worked out. For infinity and NaN the reason in words."""
    value = decode(fmt, code)
    result: list[Part] = [(f"= {number_text(value, 12)}", "", False)]
    if isinstance(fmt, IntegerFormat):
        return [[*_sum_of_weights(fmt, code), *result]]
    if isinstance(fmt, CodeBook):
        return [[("table[", "", False), (str(code), "index", False), ("] ", "", False), *result]]
    assert isinstance(fmt, FloatFormat)
    if kind_of(fmt, code) in ("infinity", "NaN"):
        return [[(_reason(fmt, code), "", False)]]
    part = split(fmt, code)
    return [list(_rule(fmt, part)), [("= ", "", False), *_worked(fmt, part), *[(" ", "", False), *result]]]


def _rule(fmt: FloatFormat, part: Mapping[str, int]) -> Iterator[Part]:
    if fmt.is_signed:
        yield from (("(−1)", "", False), (str(part["sign"]), "sign", True), (" × ", "", False))
    small = fmt.has_subnormals and not part["exponent"]
    yield from (("2", "", False), ("1" if small else str(part["exponent"]), "exponent", True))
    yield (f" − {fmt.bias}" if fmt.bias >= 0 else f" + {-fmt.bias}", "", True)
    if fmt.mantissa_bits:
        yield from ((f" × ({0 if small else 1} + ", "", False), (str(part["mantissa"]), "mantissa", False))
        yield (f"/{1 << fmt.mantissa_bits})", "", False)
    elif small:
        yield (" × 0", "", False)


def _worked(fmt: FloatFormat, part: Mapping[str, int]) -> Iterator[Part]:
    small = fmt.has_subnormals and not part["exponent"]
    if fmt.is_signed:
        yield from (("−1" if part["sign"] else "+1", "sign", False), (" × ", "", False))
    yield (power_text((1 if small else part["exponent"]) - fmt.bias), "exponent", False)
    if fmt.mantissa_bits:
        significand = (not small) + Fraction(part["mantissa"], 1 << fmt.mantissa_bits)
        yield from ((" × ", "", False), (number_text(significand, 12), "mantissa", False))
    elif small:
        yield (" × 0", "", False)


def _sum_of_weights(fmt: IntegerFormat, code: int) -> Iterator[Part]:
    for bit in range(fmt.bits - 1, -1, -1):
        is_sign = fmt.is_signed and bit == fmt.bits - 1
        sign = "−" if is_sign else "" if bit == fmt.bits - 1 else "+ "
        yield (f"{sign}{1 << bit}·", "", False)
        yield from ((str(code >> bit & 1), "sign" if is_sign else "value", False), (" ", "", False))


def _reason(fmt: FloatFormat, code: int) -> str:
    is_ieee = fmt.has_infinity and fmt.top_nans == (1 << fmt.mantissa_bits) - 1
    if (value := decode(fmt, code)) is not Special.NAN:
        why = "Exponent all ones, mantissa zero" if is_ieee else "The code just above the largest value"
        return f"{why}: {number_text(value)}"
    if not split(fmt, code)["exponent"]:
        return "The code that would be −0: NaN"
    if is_ieee:
        return "Exponent all ones, mantissa not zero: NaN"
    each = " of each sign" if fmt.is_signed else ""
    return f"The highest {'code' if fmt.top_nans == 1 else f'{fmt.top_nans} codes'}{each}: NaN"


def readings(fmt: Format, code: int) -> list[str]:
    """What each field says by itself, in the order of `fields`."""
    part, kind = split(fmt, code), kind_of(fmt, code)
    found = {name: str(number) for name, number in part.items()} | {"padding": "always 0"}
    if isinstance(fmt, FloatFormat):
        found["sign"] = "−" if part.get("sign") else "+"
        small = kind in ("zero", "subnormal") and fmt.has_subnormals
        scale = (1 if small else part["exponent"]) - fmt.bias
        found["exponent"] += "" if kind in ("infinity", "NaN") else f" → {power_text(scale)}"
        if fmt.mantissa_bits and kind not in ("infinity", "NaN"):
            significand = (not small) + Fraction(part["mantissa"], 1 << fmt.mantissa_bits)
            found["mantissa"] += f" → {number_text(significand, 9)}"
    elif "sign" in part:
        found["sign"] = f"−{1 << (fmt.bits - 1)}" if part["sign"] else "0"
    return [found[name] for name, _ in fields(fmt)]

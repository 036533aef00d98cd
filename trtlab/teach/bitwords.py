"""teach/bitwords: numbers as exact text, and what a format says before any code is chosen.

In: fractions and formats of numeric. Out: short texts and lists of them. bitfacts adds what one code says.
"""

import functools
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, Inexact
from fractions import Fraction
from typing import Any

from trtlab.numeric.exact import Real, Special, decode, encode
from trtlab.numeric.formats import CodeBook, FloatFormat, Format, IntegerFormat

_WORDS = {
    Special.NEGATIVE_ZERO: "−0",
    Special.INFINITY: "∞",
    Special.NEGATIVE_INFINITY: "−∞",
    Special.NAN: "NaN",
}
_RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
DIGITS, ALL_DIGITS = 17, 1100  # tell every float64 from its neighbours; the longest exact decimal has 767
LINE_BITS, LINE_MAX = 8, 1000  # beyond them a number line shows only a smear


# --- numbers as text ------------------------------------------------------------------------------------------------


def power_text(exponent: int) -> str:
    """`2⁻¹⁴`."""
    return f"2{str(exponent).translate(_RAISED)}"


def number_text(value: Real, digits: int = DIGITS, *, rounded: bool = False) -> str:
    """`value` in decimal with at most `digits` digits: cut off and marked with …, or rounded."""
    if isinstance(value, Special):
        return _WORDS[value]
    way = ROUND_HALF_EVEN if rounded else ROUND_DOWN
    context = Context(prec=digits, rounding=way, Emin=-(10**6), Emax=10**6)
    decimal = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    more = "…" if context.flags[Inexact] and not rounded else ""
    mantissa, exponent = _layout(decimal if more else decimal.normalize(context))
    return f"{mantissa}{more}{exponent}".replace("-", "−")


def _layout(decimal: Decimal) -> tuple[str, str]:
    """(`0.15`, ``) or (`1.5`, `e-7`): plain while few zeros are needed."""
    sign, digits, _ = decimal.as_tuple()
    place = decimal.adjusted()
    if -4 <= place < 21:
        return f"{decimal:f}", ""
    text = "".join(map(str, digits))
    return f"{'-' * sign}{text[0]}{'.' * (len(text) > 1)}{text[1:]}", f"e{place}"


def exact_forms(value: Fraction) -> list[str]:
    """`13421773/134217728`, `13421773 × 2⁻²⁷`, `0x1.99999ap-4`: the same number, exactly, those that are short."""
    forms = [str(value)] if value.denominator != 1 and len(str(value)) < 30 else []
    odd, exponent = value.numerator, 1 - value.denominator.bit_length()
    while odd and odd % 2 == 0:
        odd, exponent = odd // 2, exponent + 1
    if exponent:
        forms.append({1: "", -1: "-"}.get(odd, f"{odd} × ") + power_text(exponent))
    head, _, tail = float(value).hex().partition("p")
    forms.append(f"{head.rstrip('0').rstrip('.') if '.' in head else head}p{int(tail)}")
    return [form.replace("-", "−") for form in forms]


def decimal_parts(value: Fraction) -> list[str]:
    """The exact decimal: [all of it], or where it is long [its ends with the digits between counted, all of it]."""
    full = number_text(value, ALL_DIGITS)
    mantissa, mark, exponent = full.partition("e")
    count = sum(c.isdigit() for c in mantissa.lstrip("−0."))
    return [full] if count <= 44 else [f"{mantissa[:28]} … {mantissa[-8:]}{mark}{exponent} ({count} digits)", full]


def step_text(step: Fraction) -> str:
    """`2⁻⁹ = 0.001953125`, `2⁻⁵² ≈ 2.22e−16`, `0.0796`."""
    exponent = step.numerator.bit_length() - step.denominator.bit_length()
    short = number_text(step, 10)
    if "…" in short:
        short = number_text(step, 3, rounded=True)
    sign = "=" if number_text(step, 10) == short else "≈"
    return f"{power_text(exponent)} {sign} {short}" if step == Fraction(2) ** exponent and step != 1 else short


def signed_text(gap: Fraction) -> str:
    """`+0.0104`, `−1.85e−17`, `0`."""
    return ("+" if gap > 0 else "") + number_text(gap, 3, rounded=True)


def relative_text(wanted: Fraction, value: Fraction) -> str:
    """`0`, `6.25 %`, `1.49e−8`; a dash where there is nothing to divide by."""
    if wanted == value:
        return "0"
    if wanted == 0:
        return "–"
    relative = abs((value - wanted) / wanted)
    small = relative < Fraction(1, 10_000)
    return number_text(relative, 3, rounded=True) if small else f"{number_text(100 * relative, 3, rounded=True)} %"


def hex_text(fmt: Format, code: int) -> str:
    """`0x3c`, as wide as the format."""
    return f"0x{code:0{-(-(fmt.bits + fmt.padding_bits) // 4)}x}"


# --- a format -------------------------------------------------------------------------------------------------------


def fields(fmt: Format) -> list[tuple[str, int]]:
    """Kind and width of each field, from the highest bit down."""
    match fmt:
        case FloatFormat():
            widths = {"sign": int(fmt.is_signed), "exponent": fmt.exponent_bits, "mantissa": fmt.mantissa_bits}
            return [(k, n) for k, n in {**widths, "padding": fmt.padding_bits}.items() if n]
        case IntegerFormat():
            return [("sign", 1), ("value", fmt.bits - 1)] if fmt.is_signed else [("value", fmt.bits)]
    return [("index", fmt.bits)]


def weights(fmt: Format) -> list[str]:
    """What each bit counts, from the highest down."""
    found = []
    for kind, width in fields(fmt):
        for place in range(width - 1, -1, -1):
            fraction = width - place
            part = f"1/{1 << fraction}" if fraction < 5 else power_text(-fraction)
            whole = str(1 << place) if place < 12 else power_text(place)
            found.append({"sign": "±", "mantissa": part, "padding": ""}.get(kind, whole))
    if isinstance(fmt, IntegerFormat) and fmt.is_signed:
        found[0] = f"−{1 << (fmt.bits - 1)}"
    return found


def summary(fmt: Format) -> str:
    """`8 bits · bias 7 · largest 448`."""
    low, high = (number_text(Fraction(end), 6, rounded=True) for end in (fmt.min, fmt.max))
    if isinstance(fmt, FloatFormat):
        padding = f" and {fmt.padding_bits} of padding" if fmt.padding_bits else ""
        return f"{fmt.bits} bits{padding} · bias {fmt.bias} · largest {high}"
    kind = "a table of values" if isinstance(fmt, CodeBook) else "two's complement" if fmt.min else "no sign"
    return f"{fmt.bits} bits · {kind} · from {low} to {high}"


def notable(fmt: Format) -> list[tuple[str, str]]:
    """(label, code) of the codes worth a visit; labels of one code are joined."""
    wanted: dict[str, Any] = {"0": 0, "1": 1, "max": fmt.max, "min": None if isinstance(fmt, FloatFormat) else fmt.min}
    if isinstance(fmt, FloatFormat):
        wanted |= {"min normal": fmt.min_normal, "min subnormal": fmt.min_subnormal}
    found = {label: encode(fmt, value) for label, value in wanted.items() if value is not None}
    found = {label: code for label, code in found.items() if decode(fmt, code) == Fraction(wanted[label])}
    if isinstance(fmt, FloatFormat):
        specials = {"∞": fmt.infinity_code, "NaN": fmt.nan_code}
        found |= {label: code << fmt.padding_bits for label, code in specials.items() if code is not None}
    labels: dict[int, list[str]] = {}
    for label, code in found.items():
        labels.setdefault(code, []).append(label)
    return [(" = ".join(words), hex_text(fmt, code)) for code, words in labels.items()]


def number_line(fmt: Format) -> list[tuple[str, float, str]]:
    """(code, place from 0 to 1, value) of every finite value of a small format; empty for a large one."""
    if fmt.bits > LINE_BITS or fmt.max > LINE_MAX:
        return []
    values = [(code, decode(fmt, code)) for code in fmt.all_codes().tolist()]
    low, span = Fraction(fmt.min), Fraction(fmt.max) - Fraction(fmt.min)
    return [
        (hex_text(fmt, c), float((v - low) / span), number_text(v, 2 if isinstance(fmt, CodeBook) else 4, rounded=True))
        for c, v in values
        if isinstance(v, Fraction)
    ]


@functools.lru_cache(maxsize=64)
def describe_format(fmt: Format) -> dict[str, Any]:
    """All that depends on the format alone."""
    return {
        "fields": fields(fmt), "weights": weights(fmt), "summary": summary(fmt),
        "notable": notable(fmt), "line": number_line(fmt), "step": "step" if isinstance(fmt, CodeBook) else "ULP",
    }  # fmt: skip

"""teach/bitwords: what the bit editor says, of numbers, of a format, of one code; and all of it as a picture.

In: fractions, formats, `exact.Decoded`. Out: short texts, lists of them, and the `Drawing` for pages without a kernel.
Colours stand in attributes, since GitHub removes style sheets. bits.py asks and shows.
"""

import functools
from collections.abc import Mapping
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, Inexact
from fractions import Fraction
from typing import Any

from trtlab.numeric.exact import Decoded, Real, Special, decode, encode
from trtlab.numeric.formats import CodeBook, FloatFormat, Format, IntegerFormat
from trtlab.numeric.units import power_text, raised
from trtlab.teach import svg
from trtlab.teach.card import Drawing, details, stack, table
from trtlab.teach.formats import SPECIALS, field_names

Part = tuple[str, str, bool]  # text, kind of the field it comes from, raised
DIGITS, ALL_DIGITS = 17, 1100  # tell every float64 from its neighbours; the longest exact decimal has 767
LINE_BITS, LINE_MAX = 8, 1000  # beyond them a number line shows only a smear


# --- numbers as text ------------------------------------------------------------------------------------------------


def power(exponent: int) -> str:
    """`2⁻¹⁴`."""
    return f"2{raised(exponent)}"


def number_text(value: Real, digits: int = DIGITS, *, rounded: bool = False) -> str:
    """`value` in decimal with at most `digits` digits: cut off and marked with …, or rounded."""
    if isinstance(value, Special):
        return SPECIALS[value]
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
    if -4 <= place < 16:
        return f"{decimal:,f}", ""
    text = "".join(map(str, digits))
    return f"{'-' * sign}{text[0]}{'.' * (len(text) > 1)}{text[1:]}", f"e{place}"


def exact_forms(value: Fraction) -> list[str]:
    """`13421773/134217728`, `13421773 × 2⁻²⁷`, `0x1.99999ap-4`: the same number, exactly, those that are short."""
    forms = [str(value)] if value.denominator != 1 and len(str(value)) < 30 else []
    odd, exponent = value.numerator, 1 - value.denominator.bit_length()
    while odd and odd % 2 == 0:
        odd, exponent = odd // 2, exponent + 1
    if exponent:
        forms.append({1: "", -1: "-"}.get(odd, f"{odd} × ") + power(exponent))
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
    full = number_text(step, 10)
    sign, short = ("≈", number_text(step, 3, rounded=True)) if "…" in full else ("=", full)
    return f"{power(exponent)} {sign} {short}" if step == Fraction(2) ** exponent and step != 1 else short


def relative_text(wanted: Fraction, value: Fraction) -> str:
    """`0`, `6.25%`, `1.49e−8`; a dash where there is nothing to divide by."""
    if wanted == value:
        return "0"
    if wanted == 0:
        return "–"
    relative = abs((value - wanted) / wanted)
    small = relative < Fraction(1, 10_000)
    return number_text(relative, 3, rounded=True) if small else f"{number_text(100 * relative, 3, rounded=True)}%"


def hex_text(fmt: Format, code: int) -> str:
    """`0x3c`, as wide as the format."""
    return f"0x{code:0{-(-(fmt.bits + fmt.padding_bits) // 4)}x}"


# --- a format -------------------------------------------------------------------------------------------------------


def weights(fmt: Format) -> list[str]:
    """What each bit counts, from the highest down."""
    found = []
    for kind, width in fmt.fields:
        for place in range(width - 1, -1, -1):
            fraction = width - place
            part = f"1/{1 << fraction}" if fraction < 5 else power(-fraction)
            whole = str(1 << place) if place < 12 else power(place)
            found.append({"sign": "±", "mantissa": part, "padding": ""}.get(kind, whole))
    if isinstance(fmt, IntegerFormat) and fmt.is_signed:
        found[0] = f"−{1 << (fmt.bits - 1)}"
    return found


def summary(fmt: Format) -> str:
    """`8 bits · bias 7 · largest 448`."""
    low, high = (power_text(float(end)).replace("-", "−") for end in (fmt.min, fmt.max))
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
    found = {label: code for label, code in found.items() if decode(fmt, code).fraction == Fraction(wanted[label])}
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
    values = [(code, decode(fmt, code).value) for code in fmt.all_codes().tolist()]
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
        "fields": fmt.fields, "names": field_names(fmt), "weights": weights(fmt), "summary": summary(fmt),
        "notable": notable(fmt), "line": number_line(fmt), "step": "step" if isinstance(fmt, CodeBook) else "ULP",
    }  # fmt: skip


# --- one code -------------------------------------------------------------------------------------------------------


def formula(found: Decoded) -> list[list[Part]]:
    """Lines of parts: the rule with this code's numbers, then worked out. For infinity and NaN the reason in words."""
    fmt, result = found.fmt, f"= {number_text(found.value, 12)}"
    if isinstance(fmt, IntegerFormat):
        return [[*_sum_of_weights(fmt, found.code), _plain(result)]]
    if not isinstance(fmt, FloatFormat):
        return [[_plain("table["), (str(found.code), "index", False), _plain(f"] {result}")]]
    if found.exponent is None or found.significand is None:
        return [[_plain(_reason(fmt, found))]]
    fields, times = found.fields, _plain(" × ")
    bias = f" − {fmt.bias}" if fmt.bias >= 0 else f" + {-fmt.bias}"
    raised_to = "1" if found.is_small else str(fields["exponent"])
    rule = [_plain("2"), (raised_to, "exponent", True), (bias, "", True)]
    worked: list[Part] = [(power(found.exponent), "exponent", False)]
    if fmt.is_signed:
        rule = [_plain("(−1)"), (str(fields["sign"]), "sign", True), times, *rule]
        worked = [("−1" if fields["sign"] else "+1", "sign", False), times, *worked]
    if fmt.mantissa_bits:
        mantissa = (str(fields["mantissa"]), "mantissa", False)
        rule += [_plain(f" × ({int(not found.is_small)} + "), mantissa, _plain(f"/{1 << fmt.mantissa_bits})")]
        worked += [times, (number_text(found.significand, 12), "mantissa", False)]
    elif found.is_small:
        rule, worked = [*rule, _plain(" × 0")], [*worked, _plain(" × 0")]
    return [rule, [_plain("= "), *worked, _plain(f" {result}")]]


def _plain(text: str) -> Part:
    return text, "", False


def _sum_of_weights(fmt: IntegerFormat, code: int) -> list[Part]:
    kinds = [kind for kind, width in fmt.fields for _ in range(width)]
    parts = list[Part]()
    for kind, weight, digit in zip(kinds, weights(fmt), f"{code:0{fmt.bits}b}", strict=True):
        parts += [_plain(f"{'+ ' if parts else ''}{weight}·"), (digit, kind, False), _plain(" ")]
    return parts


def _reason(fmt: FloatFormat, found: Decoded) -> str:
    is_ieee = fmt.has_infinity and fmt.top_nans == (1 << fmt.mantissa_bits) - 1
    if found.kind == "infinity":
        why = "Exponent all ones, mantissa zero" if is_ieee else "The code just above the largest value"
        return f"{why}: {number_text(found.value)}"
    if not found.fields["exponent"]:
        return "The code that would be −0: NaN"
    if is_ieee:
        return "Exponent all ones, mantissa not zero: NaN"
    each = " of each sign" if fmt.is_signed else ""
    return f"The highest {'code' if fmt.top_nans == 1 else f'{fmt.top_nans} codes'}{each}: NaN"


def readings(found: Decoded) -> list[str]:
    """What each field says by itself, in the order of `fields`."""
    said = {kind: str(number) for kind, number in found.fields.items()} | {"padding": "always 0"}
    if isinstance(found.fmt, FloatFormat):
        said["sign"] = "−" if found.fields.get("sign") else "+"
        if found.exponent is not None:
            said["exponent"] += f" → {power(found.exponent)}"
        if found.significand is not None and "mantissa" in said:
            said["mantissa"] += f" → {number_text(found.significand, 9)}"
    elif "sign" in said:
        said["sign"] = f"−{1 << (found.fmt.bits - 1)}" if found.fields["sign"] else "0"
    return [said[kind] for kind in found.fields]


# --- without a kernel -----------------------------------------------------------------------------------------------

COLOURS = {
    "sign": "#a8478c", "exponent": "#0072b2", "mantissa": "#b8500f",
    "value": "#00805c", "index": "#5b4fc4", "padding": svg.LINE,
}  # fmt: skip
_WIDTH, _LEFT, _CELL, _GAP = 880, 20, 46, 6
_COLUMNS = {"format": 20, "code": 160, "value": 330, "relative error": 500, "": 620}
_MONO: dict[str, Any] = {"font_family": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"}


def draw_bits(face: Mapping[str, Any], shown: Mapping[str, Any]) -> Drawing:
    """Bits, value, formula, error and the same number in the other formats: as a picture, and as tables of words."""
    name, error, lines = face["name"], shown["error"], [_line(parts) for parts in shown["formula"]]
    title = f"{name} {shown['code']}: {shown['value']} ({shown['kind']})"
    said = f"{error['target']} → {shown['value']} · {error['words']}, relative error {error['relative']}"
    fields = [*zip(face["names"], shown["bin"].split(), shown["readings"], strict=True)]
    rows = [[*row[:4], row[5]] for row in shown["rows"]]
    height = 296 + 18 * len(rows)
    picture = svg.whole(
        title, _WIDTH, height, svg.tag("rect", width=_WIDTH, height=height, rx=10, fill="none", stroke="#d0d7de"),
        _text(20, 26, name, 15, weight=600), _text(20, 44, face["summary"], 12, svg.DIM),
        _text(20, 82, shown["value"], 26, weight=600), _text(860, 82, shown["kind"], 13, svg.DIM, text_anchor="end"),
        *_strip([kind for kind, _ in face["fields"]], fields),
        *(_text(20, 206 + 22 * i, line, 14, **_MONO) for i, line in enumerate(lines)),
        _text(20, 256, said, 13, svg.DIM), *_table(name, rows),
    )  # fmt: skip
    words = [face["summary"], table(("field", "bits", "says"), fields), *lines, said, table([*_COLUMNS], rows)]
    return svg.drawing(stack([svg.shown(picture), details(title, *words)]), picture)


def _line(parts: list[Part]) -> str:
    """A line of the formula with ^(…) for what stands raised."""
    text, before = "", False
    for words, _, is_raised in parts:
        text += ("" if is_raised == before else "^(" if is_raised else ")") + words
        before = is_raised
    return text


def _text(x: float, y: float, words: str, size: int, fill: str = svg.INK, weight: int = 400, **look: Any) -> str:
    return svg.text("", words, (x, y), size, fill, weight, **look)


def _strip(kinds: list[str], fields: list[tuple[str, str, str]]) -> list[str]:
    """Every bit as a box in the colour of its field; the field's name above, what it says below."""
    count = sum(len(digits) for _, digits, _ in fields)
    cell = min(_CELL, (_WIDTH - 2 * _LEFT - _GAP * (len(fields) - 1)) / count)
    found, x = [], float(_LEFT)
    for kind, (name, digits, reading) in zip(kinds, fields, strict=True):
        colour, middle = COLOURS[kind], x + len(digits) * cell / 2
        place, anchor = (middle, "middle") if kind == name else (x, "start")
        found += [_text(place, 112, name, 12, colour, text_anchor=anchor)]
        found += [_text(middle, 174, reading, 12, colour, text_anchor="middle", **_MONO)]
        for digit in digits:
            size = {"x": round(x + 0.75, 2), "y": 120, "width": round(cell - 1.5, 2), "height": 36, "rx": 4}
            found += [svg.tag("rect", **size, fill=colour, stroke=colour, fill_opacity="1" if digit == "1" else "0.1")]
            look = {"fill": svg.PAPER if digit == "1" else colour, "text_anchor": "middle", **_MONO}
            found += [_text(x + cell / 2, 144, digit, 16 if cell > 14 else 11, **look)]
            x += cell
        x += _GAP
    return found


def _table(name: str, rows: list[list[str]]) -> list[str]:
    found = [_text(x, 284, head, 11, svg.DIM) for head, x in _COLUMNS.items()]
    for y, row in enumerate(rows):
        look = {"weight": 600 if row[0] == name else 400, **_MONO}
        found += [_text(x, 302 + 18 * y, cell, 12, **look) for cell, x in zip(row, _COLUMNS.values(), strict=True)]
    return found

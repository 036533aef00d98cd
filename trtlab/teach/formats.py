"""teach/formats: number formats as tables: what a format is made of, what one number becomes, all codes at once.

In: descriptions from numeric/formats. Out: `Drawing`s. Nothing is typed in here: every cell is derived or decoded.
"""

import math
from collections.abc import Iterable
from fractions import Fraction

from trtlab.numeric import FORMATS, FloatFormat, Format, IntegerFormat, exact
from trtlab.numeric.formats import CodeBook, Overflow, Rounding
from trtlab.teach.drawing import Drawing, escape, table, table_card, text_table

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def has_codes(fmt: Format) -> bool:
    """Whether a code of `fmt` alone has a value; one of a block format needs the scale of its block."""
    return isinstance(fmt, FloatFormat | IntegerFormat | CodeBook)


def name_of(fmt: Format) -> str:
    """The format's name; `E3M2` for a float that has none."""
    if not fmt.name and isinstance(fmt, FloatFormat):
        return f"E{fmt.exponent_bits}M{fmt.mantissa_bits}"
    return str(fmt)


def find_format(which: str | Format) -> Format:
    """The format of that name, or `which` itself. KeyError and TypeError say what there is instead."""
    fmt = FORMATS.get(which) if isinstance(which, str) else which
    names = ", ".join(name for name, f in FORMATS.items() if has_codes(f))
    if fmt is None:
        raise KeyError(f"no format {which!r}; there are {names}")
    if not has_codes(fmt):
        raise TypeError(f"{which} has no codes of its own; take its element format, or: {names}")
    return fmt


def fields(fmt: Format) -> tuple[tuple[str, int], ...]:
    """The parts of a code from the highest bit down, as (kind, bits)."""
    match fmt:
        case FloatFormat():
            bits = int(fmt.is_signed), fmt.exponent_bits, fmt.mantissa_bits, int(fmt.padding_bits)
            parts = zip(("sign", "exponent", "mantissa", "padding"), bits, strict=True)
            return tuple((kind, count) for kind, count in parts if count)
        case CodeBook():
            return (("index", fmt.bits),)
    return (("integer", fmt.bits),)


def power_text(value: float) -> str:
    """`2⁻¹⁴` for powers of two from 2^14 up and 2^-4 down, else a number of at most five digits."""
    mantissa, exponent = math.frexp(value)
    if mantissa == 0.5 and not -4 < exponent - 1 < 14:
        return f"2{str(exponent - 1).translate(_SUPERSCRIPT)}"
    return f"{float(value):,.0f}" if abs(value) >= 1000 and abs(value) < 1e6 else f"{float(value):.5g}"


def draw_formats(names: Iterable[str | Format]) -> Drawing:
    """One row per format: its fields, largest and smallest values, step at 1, digits, special codes."""
    formats = [*map(find_format, names)]
    header = ("format", "fields", "bits", "max", "min normal", "min subnormal", "epsilon", "digits", "specials")
    rows = [[name_of(fmt), *_facts(fmt)] for fmt in formats]
    marked = [
        [f"<b>{escape(row[0])}</b>", _strip(fmt), *map(escape, row[2:])] for fmt, row in zip(formats, rows, strict=True)
    ]
    legend = "".join(f'<span class="bits"><i class="{kind}">{kind}</i></span> ' for kind in _kinds(formats))
    foot = f"From the highest bit down: {legend}· epsilon: the step at 1 · digits: decimal ones that always survive."
    markup = table_card(table(header, marked, numeric=range(2, 8)), foot=foot)
    return Drawing(html=markup, text=text_table(header, rows))


def _kinds(formats: Iterable[Format]) -> dict[str, None]:
    return dict.fromkeys(kind for fmt in formats for kind, _ in fields(fmt))


def _strip(fmt: Format) -> str:
    """The fields as coloured pieces, as wide as they have bits; each says its number of bits."""
    pieces = (
        f'<i class="{kind}" style="width:{2.4 * bits:.0f}px" title="{kind}">{bits}</i>' for kind, bits in fields(fmt)
    )
    return f'<span class="bits">{"".join(pieces)}</span>'


def _facts(fmt: Format) -> list[str]:
    parts = " + ".join(f"{bits} {kind}" for kind, bits in fields(fmt))
    if not isinstance(fmt, FloatFormat):
        kind = "no exponent" if isinstance(fmt, IntegerFormat) else f"a table of {1 << fmt.bits} values"
        step = "1" if isinstance(fmt, IntegerFormat) else "–"
        return [parts, str(fmt.bits), f"{fmt.max:g}", "–", "–", step, "–", kind]
    subnormal = "–" if fmt.min_subnormal is None else power_text(fmt.min_subnormal)
    bits = f"{fmt.bits} of {fmt.bits + fmt.padding_bits}" if fmt.padding_bits else str(fmt.bits)
    numbers = [power_text(fmt.max), power_text(fmt.min_normal), subnormal, power_text(fmt.epsilon)]
    return [parts, bits, *numbers, str(fmt.decimal_digits), _specials(fmt)]


def _specials(fmt: FloatFormat) -> str:
    words = ["±∞" if fmt.has_infinity else "no ∞", f"{_count_text(fmt.nan_codes)} NaN"]
    return ", ".join(words + ([] if fmt.has_negative_zero else ["no −0" if fmt.has_subnormals else "no zero"]))


def _count_text(count: int) -> str:
    """`no`, `254`, `2²⁴ − 2`."""
    exponent = (count + 2).bit_length() - 1
    is_near_power = count > 9999 and count + 2 == 1 << exponent
    return f"2{str(exponent).translate(_SUPERSCRIPT)} − 2" if is_near_power else f"{count:,}" if count else "no"


def draw_value(
    text: str, names: Iterable[str | Format], rounding: Rounding = "nearest_even", overflow: Overflow = "ieee"
) -> Drawing:
    """One number, read exactly, in each format: the bits of its code, the value it becomes, and the relative error."""
    number = exact.real(text)
    header = ("format", "bits", "becomes", "relative error")
    rows, marked = [], []
    for fmt in map(find_format, names):
        cells = (name_of(fmt), *_stored(fmt, number, rounding, overflow))
        rows.append(cells)
        marked.append((f"<b>{escape(cells[0])}</b>", _coloured(fmt, cells[1]), *map(escape, cells[2:])))
    head = f'<b>{escape(text)}</b><span class="by">rounded to {escape(rounding.replace("_", " "))}</span>'
    return Drawing(
        html=table_card(table(header, marked, numeric=(2, 3)), head=head),
        text=f"{text}\n{text_table(header, rows)}",
    )


def _stored(fmt: Format, number: exact.Real, rounding: Rounding, overflow: Overflow) -> tuple[str, str, str]:
    try:
        code = exact.encode(fmt, number, rounding, overflow)
    except ValueError:
        return "", "no code for it", "–"
    return f"{code >> fmt.padding_bits:0{fmt.bits}b}", *_compared(number, exact.decode(fmt, code))


def _coloured(fmt: Format, digits: str) -> str:
    pieces, at = [], 0
    for kind, bits in fields(fmt):
        pieces.append(f'<i class="{kind} plain">{digits[at : at + bits]}</i>' if kind != "padding" else "")
        at += bits
    return f'<span class="bits mono">{"".join(pieces)}</span>'


def _compared(number: exact.Real, value: exact.Real) -> tuple[str, str]:
    if not isinstance(value, Fraction):
        return value.value, "–"
    shown = f"{float(value):.9g}"
    if not isinstance(number, Fraction) or number == 0:
        return shown, "–"
    error = abs(value - number) / abs(number)
    return shown, f"{float(error):.2e}" if error else "exact"


def draw_codes(name: str | Format, *, columns: int = 8) -> Drawing:
    """Every code of a format of at most 8 bits with its value, in the order of the codes."""
    fmt = find_format(name)
    if fmt.bits > 8:
        raise ValueError(
            f"{name_of(fmt)} has {1 << fmt.bits:,} codes; expected at most 256 to draw: choose one of 8 bits or less"
        )
    digits = -(-(fmt.bits + fmt.padding_bits) // 4)
    cells = [(f"{code:0{digits}X}", _code_text(fmt, code)) for code in fmt.all_codes().tolist()]
    lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    marked = [
        [f'<span class="dim mono">{code}</span> <b>{escape(value)}</b>' for code, value in line] for line in lines
    ]
    rows = [[f"{code} {value}" for code, value in line] for line in lines]
    header = [""] * len(lines[0])
    head = f'<b>{escape(name_of(fmt))}</b><span class="by">{len(cells)} codes, hexadecimal, and their values</span>'
    return Drawing(
        html=f'<div class="bare">{table_card(table(header, marked), head=head)}</div>',
        text=f"{name_of(fmt)}\n{text_table(header, rows)}",
    )


def _code_text(fmt: Format, code: int) -> str:
    value = exact.decode(fmt, code)
    return f"{float(value):.6g}" if isinstance(value, Fraction) else value.value

"""teach/formats: number formats as tables: what a format is made of, what numbers become, all codes at once, what each
way to quantise keeps.

In: descriptions from numeric/formats, arrays, and what `quantize` returned. Out: `Drawing`s. Nothing is typed in here:
every cell is derived or decoded.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.numeric import FORMATS, BlockFormat, FloatFormat, Format, IntegerFormat, codec, exact
from trtlab.numeric.describe import Overflow, Rounding
from trtlab.numeric.formats import CodeBook
from trtlab.numeric.quantize import Quantized, sqnr_db
from trtlab.teach.card import Cell, Drawing, apart, bold, card, code, dim, join, table, tag
from trtlab.teach.units import counted, power_text, raised

Array = npt.NDArray[Any]
GRANULARITIES: dict[str, dict[str, Any]] = {
    "tensor": {}, "channel": {"axis": 0}, "128": {"block": 128}, "64": {"block": 64}, "32": {"block": 32},
    "16": {"block": 16},
}  # fmt: skip
"""Which values share a scale, as arguments of `Format.quantize`; a channel is a row."""


def has_codes(fmt: Format) -> bool:
    """Whether a code of `fmt` alone has a value; one of a block format needs the scale of its block."""
    return isinstance(fmt, FloatFormat | IntegerFormat | CodeBook)


def name_of(fmt: Format) -> str:
    """The format's name; `E3M2` for a float that has none."""
    if not fmt.name and isinstance(fmt, FloatFormat):
        return f"E{fmt.exponent_bits}M{fmt.mantissa_bits}"
    return str(fmt)


def find_format(which: str | Format, *, blocks: bool = False) -> Format:
    """The format of that name, or `which` itself; `blocks` allows those whose codes mean nothing without a scale.

    KeyError and TypeError say what there is instead.
    """
    fmt = FORMATS.get(which) if isinstance(which, str) else which
    names = ", ".join(name for name, f in FORMATS.items() if blocks or has_codes(f))
    if fmt is None:
        raise KeyError(f"no format {which!r}; there are {names}")
    if not (blocks or has_codes(fmt)):
        raise TypeError(f"{which} has no codes of its own; take its element format, or: {names}")
    return fmt


def field_names(fmt: Format) -> list[str]:
    """The names of its fields, from the highest bit down; two's complement has no sign field but a top bit that counts
    down."""
    is_signed = isinstance(fmt, IntegerFormat) and fmt.is_signed
    return [f"top bit, −{1 << fmt.bits - 1}" if is_signed and kind == "sign" else kind for kind, _ in fmt.fields]


def _pieces(pieces: Iterable[tuple[str, Any]], mark: str, **look: str) -> Cell:
    """Coloured pieces of a code, each of a kind of field."""
    return tag("span", join([tag("i", value, kind, **look) for kind, value in pieces], apart(mark)), "bits")


# --- formats ----------------------------------------------------------------------------------------------------------


def draw_formats(names: Iterable[str | Format]) -> Drawing:
    """One row per format: its fields, bias, largest and smallest values, step at 1, digits, special codes."""
    formats = [*map(find_format, names)]
    header = ("format", "fields", "bits", "bias", "max", "min normal", "min subnormal", "epsilon", "digits", "specials")
    rows = [(bold(name_of(fmt)), _strip(fmt), *_facts(fmt)) for fmt in formats]
    kinds = {name: kind for fmt in formats for name, (kind, _) in zip(field_names(fmt), fmt.fields, strict=True)}
    order = join(["From the highest bit down:", _pieces([(kind, name) for name, kind in kinds.items()], ", ")], " ")
    return card(
        table(header, rows),
        foot=[join([order, "epsilon: the step at 1", "digits: decimal ones that always survive."])],
    )


def _strip(fmt: Format) -> Cell:
    """The fields as coloured pieces, as wide as they have bits; each says its number of bits."""
    named = zip(field_names(fmt), fmt.fields, strict=True)
    pieces = [tag("i", bits, kind, style=f"width:{2.4 * bits:.0f}px", title=name) for name, (kind, bits) in named]
    return tag("span", join(pieces, apart(" / ")), "bits")


def _facts(fmt: Format) -> list[str]:
    """Bits, bias, largest and smallest values, step at 1, digits, and what has codes besides numbers."""
    if not isinstance(fmt, FloatFormat):
        is_integer = isinstance(fmt, IntegerFormat)
        kind = "no exponent" if is_integer else f"a table of {1 << fmt.bits} values"
        return [str(fmt.bits), "–", f"{fmt.max:g}", "–", "–", "1" if is_integer else "–", "–", kind]
    subnormal = "–" if fmt.min_subnormal is None else power_text(fmt.min_subnormal)
    bits = f"{fmt.bits} of {fmt.bits + fmt.padding_bits}" if fmt.padding_bits else str(fmt.bits)
    numbers = [power_text(fmt.max), power_text(fmt.min_normal), subnormal, power_text(fmt.epsilon)]
    return [bits, str(fmt.bias), *numbers, str(fmt.decimal_digits), _specials(fmt)]


def _specials(fmt: FloatFormat) -> str:
    words = ["±∞" if fmt.has_infinity else "no ∞", f"{_count_text(fmt.nan_codes)} NaN"]
    return ", ".join(words + ([] if fmt.has_negative_zero else ["no −0" if fmt.has_subnormals else "no zero"]))


def _count_text(count: int) -> str:
    """`no`, `254`, `2²⁴ − 2`."""
    exponent = (count + 2).bit_length() - 1
    is_near_power = count > 9999 and count + 2 == 1 << exponent
    return f"2{raised(exponent)} − 2" if is_near_power else f"{count:,}" if count else "no"


# --- values -----------------------------------------------------------------------------------------------------------


def draw_value(
    text: str, names: Iterable[str | Format], rounding: Rounding = "nearest_even", overflow: Overflow = "ieee"
) -> Drawing:
    """One number, read exactly, in each format: the bits of its code, the value it becomes, and the relative error."""
    number = exact.real(text)
    rows = [(bold(name_of(fmt)), *_stored(fmt, number, rounding, overflow)) for fmt in map(find_format, names)]
    head = [bold(text), dim(f"rounded to {rounding.replace('_', ' ')}")]
    return card(table(("format", "bits", "becomes", "relative error"), rows), head=head)


def _stored(fmt: Format, number: exact.Real, rounding: Rounding, overflow: Overflow) -> tuple[Any, str, str]:
    try:
        word = exact.encode(fmt, number, rounding, overflow)
    except ValueError:
        return "", "no code for it", "–"
    return _bits(fmt, word), *_compared(number, exact.decode(fmt, word).value)


def _bits(fmt: Format, word: int) -> Cell:
    """The bits of a code, a piece for each field; what only pads it is left out."""
    digits = iter(f"{word >> fmt.padding_bits:0{fmt.bits}b}")
    kept = [(kind, bits) for kind, bits in fmt.fields if kind != "padding"]
    return _pieces([(f"{kind} plain", "".join(itertools.islice(digits, bits))) for kind, bits in kept], "|")


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
    codes = fmt.all_codes().tolist()
    cells = [join([dim(f"{word:0{digits}X}"), bold(_value(fmt, word))], " = ") for word in codes]
    lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    head = [bold(name_of(fmt)), dim(f"{len(cells)} codes, hexadecimal, and their values")]
    return card(table([""] * len(lines[0]), lines, bare=True), head=head)


def _value(fmt: Format, word: int) -> str:
    value = exact.decode(fmt, word).value
    return f"{float(value):.6g}" if isinstance(value, Fraction) else value.value


# --- quantised --------------------------------------------------------------------------------------------------------


def draw_block(values: npt.ArrayLike, quantized: Quantized) -> Drawing:
    """A few values that were quantised: number, code and bits, element, number again, error; the scales above.

    More than 16 stand in two columns.
    """
    x, element = np.asarray(values, np.float32).ravel(), quantized.element
    codes, restored = quantized.codes.ravel(), quantized.values.ravel()
    rows: list[list[Any]] = [
        [f"{a:.5g}", f"{word:X}", code(f"{word:0{element.bits}b}"), f"{float(codec.decode(element, word)):.5g}",
         f"{b:.5g}", f"{b - a:+.3g}"]
        for a, word, b in zip(x, codes, restored, strict=True)
    ]  # fmt: skip
    header: tuple[str, ...] = ("x", "code", "bits", "element", "becomes", "error")
    if len(rows) > 16:
        half, header = -(-len(rows) // 2), header * 2
        pairs = itertools.zip_longest(rows[:half], rows[half:], fillvalue=[""] * 6)
        rows = [left + right for left, right in pairs]
    foot = f"{counted(quantized.size_bits, 'bit')} for {counted(x.size, 'value')} · SQNR {sqnr_db(x, restored):.2f} dB"
    return card(table(header, rows), head=[bold(quantized.format), dim(_scales(quantized))], foot=[foot])


def _scales(quantized: Quantized) -> str:
    """`scale 0.5 = code 7E`, for each group, and the tensor's scale."""
    pairs = zip(np.ravel(quantized.scales), np.ravel(quantized.scale_codes), strict=True)
    words = [f"scale {scale:.6g} = code {code:X}" for scale, code in pairs]
    tensor = [] if quantized.tensor_scale is None else [f"tensor scale {quantized.tensor_scale:.6g}"]
    zeros = [] if quantized.zero_points is None else [f"zero point {np.ravel(quantized.zero_points).tolist()}"]
    return ", ".join(words + zeros + tensor)


def draw_sqnr(values: npt.ArrayLike, names: Sequence[str | Format]) -> Drawing:
    """SQNR in dB of every format under every granularity, darker where better; bits per value beneath each."""
    array = np.asarray(values, np.float32)
    found = {name_of(fmt): sqnr_row(fmt, array) for fmt in (find_format(name, blocks=True) for name in names)}
    most = max((db for row in found.values() for db, _ in row.values() if db < math.inf), default=1.0)
    rows = [
        [bold(name), *(_shaded(*row[g], most) if g in row else "" for g in GRANULARITIES)]
        for name, row in found.items()
    ]
    header = ("SQNR, dB", "one per tensor", "per row", *(f"blocks of {g}" for g in list(GRANULARITIES)[2:]))
    said = f"{counted(array.size, 'value')}; small: bits per value with all scales."
    return card(table(header, rows), foot=[said], made=[live(["numpy"])])


def sqnr_row(fmt: Format, array: Array) -> dict[str, tuple[float, float]]:
    """Granularity to (dB, bits per value); a block format has one, in the column of its block size."""
    if isinstance(fmt, BlockFormat):
        found = {str(fmt.block_size): fmt.quantize(array, partial=True)}
    else:
        found = {name: fmt.quantize(array, **how, partial=True) for name, how in GRANULARITIES.items()}
    return {name: (sqnr_db(array, q.values), q.bits_per_value) for name, q in found.items()}


def _shaded(db: float, bits: float, most: float) -> Cell:
    share = 45 * min(max(db, 0) / max(most, 1), 1)
    return join([tag("span", f"{db:.1f}", "heat", style=f"--share:{share:.0f}%"), dim(f"{bits:.3g}")], apart())

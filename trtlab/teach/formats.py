"""teach/formats: number formats as tables and charts: what a format is made of, what numbers become, where values lie,
what rounding does, what each way to quantise keeps.

In: descriptions from numeric/formats, arrays, and what `quantize` returned. Out: `Drawing`s, and plotly figures that
say what computed them. Nothing is typed in here: every cell and every curve is derived or decoded.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.numeric import FORMATS, BlockFormat, CodeBook, FloatFormat, Format, IntegerFormat, arithmetic, codec, exact
from trtlab.numeric.describe import Rounding
from trtlab.numeric.quantize import Quantized, sqnr_db
from trtlab.numeric.units import counted, power_text, raised
from trtlab.teach.card import Cell, Drawing, apart, bold, card, code, dim, join, table, tag
from trtlab.teach.figure import INK, PALETTE, axes, finish, line, lines, new, ticks

Array = npt.NDArray[Any]
SPECIALS = {
    exact.Special.NEGATIVE_ZERO: "−0", exact.Special.INFINITY: "∞", exact.Special.NEGATIVE_INFINITY: "−∞",
    exact.Special.NAN: "NaN",
}  # fmt: skip
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
    if not isinstance(fmt, Format):
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
    foot = join([order, "epsilon: the step at 1", "digits: decimal ones that always survive."])
    return card(table(header, rows), foot=[foot])


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
    nans = f"{fmt.nan_codes:,}" if fmt.nan_codes else "no"
    if fmt.nan_codes > 9999:  # all but infinity, of each sign
        nans = f"2{raised((fmt.nan_codes + 2).bit_length() - 1)} − 2"
    lacks = [] if fmt.has_negative_zero else ["no −0" if fmt.has_subnormals else "no zero"]
    specials = ["±∞" if fmt.has_infinity else "no ∞", f"{nans} NaN", *lacks]
    return [bits, f"{fmt.bias:,}", *numbers, str(fmt.decimal_digits), ", ".join(specials)]


# --- values -----------------------------------------------------------------------------------------------------------


def draw_value(text: str, names: Iterable[str | Format]) -> Drawing:
    """One number, read exactly, in each format: the bits of its code, the value it becomes, and the relative error."""
    number = exact.real(text)
    rows = [(bold(name_of(fmt)), *_stored(fmt, number)) for fmt in map(find_format, names)]
    head = [bold(text), dim("rounded to nearest even")]
    return card(table(("format", "bits", "becomes", "relative error"), rows), head=head)


def _stored(fmt: Format, number: exact.Real) -> tuple[Any, str, str]:
    """The bits of its code, a piece for each field, without what only pads it; the value; the relative error."""
    try:
        word = exact.encode(fmt, number, "nearest_even", "ieee")
    except ValueError:
        return "", "no code for it", "–"
    digits, kept = iter(f"{word >> fmt.padding_bits:0{fmt.bits}b}"), [f for f in fmt.fields if f[0] != "padding"]
    pieces = _pieces([(f"{kind} plain", "".join(itertools.islice(digits, bits))) for kind, bits in kept], "|")
    value, error = exact.decode(fmt, word).value, "–"
    if isinstance(value, Fraction) and isinstance(number, Fraction) and number:
        error = "exact" if value == number else f"{float(abs(value - number) / abs(number)):.2e}"
    return pieces, _value(value, 9), error


def _value(value: exact.Real, digits: int) -> str:
    return f"{float(value):.{digits}g}".replace("-", "−") if isinstance(value, Fraction) else SPECIALS[value]


def draw_codes(name: str | Format) -> Drawing:
    """Every code of a format of at most 8 bits with its value, in the order of the codes."""
    fmt = find_format(name)
    if fmt.bits > 8:
        raise ValueError(
            f"{name_of(fmt)} has {1 << fmt.bits:,} codes; expected at most 256 to draw: choose one of 8 bits or less"
        )
    digits = -(-(fmt.bits + fmt.padding_bits) // 4)
    codes = fmt.all_codes().tolist()
    cells = [join([dim(f"{word:0{digits}X}"), bold(_value(exact.decode(fmt, word).value, 6))], " = ") for word in codes]
    rows = [cells[start : start + 8] for start in range(0, len(cells), 8)]
    head = [bold(name_of(fmt)), dim(f"{len(cells)} codes, hexadecimal, and their values")]
    return card(table([""] * len(rows[0]), rows, bare=True), head=head)


# --- quantised --------------------------------------------------------------------------------------------------------


def draw_block(values: npt.ArrayLike, quantized: Quantized) -> Drawing:
    """A few values that were quantised: number, code and bits, element, number again, error; the scales above.

    More than 16 stand in two columns.
    """
    x, element = np.asarray(values, np.float32).ravel(), quantized.element
    codes, restored = quantized.codes.ravel(), quantized.values.ravel()
    digits = -(-element.bits // 4)
    rows: list[list[Any]] = [
        [f"{a:.5g}", f"{word:0{digits}X}", code(f"{word:0{element.bits}b}"),
         f"{float(codec.decode(element, word)):.5g}", f"{b:.5g}", f"{b - a:+.3g}" if b != a else "0"]
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
    if quantized.zero_points is not None:
        words.append(f"zero point {np.ravel(quantized.zero_points).tolist()}")
    return ", ".join(words + ([f"tensor scale {quantized.tensor_scale:.6g}"] if quantized.tensor_scale else []))


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


# --- charts -----------------------------------------------------------------------------------------------------------


def _finished(figure: Any, title: str, how: str, **look: Any) -> Any:
    """One provenance for all figures of this file: numpy, here, now."""
    return finish(figure, title, [live(["numpy"])], says=[how], **look)


def _all_values(fmt: Format) -> Array:
    """All finite values of a format of at most 16 bits, ascending; +0 and -0 once."""
    if fmt.bits > 16:
        raise ValueError(
            f"{name_of(fmt)} has 2^{fmt.bits} values, too many to draw; expected a format of at most 16 bits"
        )
    values = fmt.decode(fmt.all_codes())
    return np.unique(values[np.isfinite(values)]).astype(np.float64)


def draw_precision(names: Iterable[str | Format]) -> Any:
    """Significant bits at every magnitude: as wide as the range, as high as the precision, sloping where subnormal.

    Formats that reach beyond 2^40 stand in a panel of their own, or the others would be too narrow to read.
    """
    curves = {name_of(fmt): _significant_bits(fmt) for fmt in map(find_format, names)}
    wide = {name: curve for name, curve in curves.items() if curve[0][-1] > 40}
    panels = [panel for panel in (wide, {name: c for name, c in curves.items() if name not in wide}) if panel]
    figure = new(len(panels), horizontal_spacing=0.08)
    for column, panel in enumerate(panels, 1):
        for name, (x, y) in panel.items():
            look = line([*curves].index(name))
            figure.add_scatter(
                x=x, y=y, name=name, line=look, line_shape="hv", mode="lines", hovertemplate="2^%{x}: %{y} bits",
                row=1, col=column,
            )  # fmt: skip
            plateau = [at for at, bits in zip(x, y, strict=True) if bits == max(y)]
            figure.add_annotation(
                text=name, x=(7 * plateau[0] + plateau[-1] + 1) / 8, y=max(y), yshift=9, showarrow=False,
                font={"size": 12, "color": look["color"]}, row=1, col=column,
            )  # fmt: skip
    axes(figure, "magnitude: 2 to the power of", "significant bits").update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text="", col=2)
    title, how = "Range is width, precision is height", "computed from the descriptions of the formats"
    return _finished(figure, title, how, height=380)


def _significant_bits(fmt: Format) -> tuple[list[int], list[int]]:
    """Exponents of two, and the bits that a value of that size keeps; 0 after the largest."""
    if isinstance(fmt, FloatFormat):
        full, lowest = fmt.mantissa_bits + 1, math.frexp(fmt.min_normal)[1] - 1
        slope = [(lowest - full + bits, bits) for bits in range(1, full)] if fmt.has_subnormals else []
        top = fmt.max_exponent
        profile = [*slope, *((octave, full) for octave in range(lowest, top + 1))]
    else:
        top = math.frexp(fmt.max)[1] - 1
        profile = [(octave, octave + 1) for octave in range(top + 1)]
    return [octave for octave, _ in profile] + [top + 1], [bits for _, bits in profile] + [0]


def draw_number_line(names: Sequence[str | Format], *, scale: str = "linear", most: float | None = None) -> Any:
    """Every value as a tick: `linear` from -most to most (default: the smallest of the largest values), or `log`."""
    formats = [*map(find_format, names)]
    limit = min(float(fmt.max) for fmt in formats) if most is None else most
    values = {name_of(fmt): _all_values(fmt) for fmt in formats}
    figure = ticks({name: x[x > 0] if scale == "log" else x[np.abs(x) <= limit] for name, x in values.items()})
    if scale == "log":
        title = "positive values, logarithmic"
        figure.update_xaxes(type="log", exponentformat="power", title_text=title, zeroline=False)
    return _finished(figure, f"Every value is a tick ({scale})", "all codes decoded", height=85 + 52 * len(formats))


def draw_levels(levels: Mapping[str, npt.ArrayLike], *, title: str) -> Any:
    """Rows of ticks on one axis: the levels of each name."""
    return _finished(ticks(levels, size=24), title, "all codes decoded", height=85 + 48 * len(levels))


def draw_density(names: Sequence[str | Format], *, most: float = 8.0) -> Any:
    """How many values lie in each unit [n, n + 1) from -most up to most, and in each octave. Logarithmic upwards."""
    values = {name_of(fmt): _all_values(fmt) for fmt in map(find_format, names)}
    edges = np.arange(-most, most + 1)
    counts = {name: np.histogram(x[x < most], edges)[0] for name, x in values.items()}
    figure = new(2, horizontal_spacing=0.12)
    units = {name: (edges[:-1], np.where(found, found, np.nan)) for name, found in counts.items()}
    octaves = {name: np.unique(np.frexp(x[x > 0])[1] - 1, return_counts=True) for name, x in values.items()}
    axes(lines(figure, units, line_shape="hv"), "value", "values in each unit", col=1)
    octave = "2 to the power of", "positive values in each octave"
    axes(lines(figure, octaves, column=2, line_shape="hv"), *octave, col=2)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    title = "Floats crowd around zero, integers are evenly spread"
    return _finished(figure, title, "all codes decoded and counted", height=370, named=True)


def draw_staircase(name: str | Format, modes: Sequence[Rounding], *, low: float, high: float) -> Any:
    """Input to output under each rounding mode, side by side; the dotted line is no rounding at all."""
    fmt, x = find_format(name), np.linspace(low, high, 1201)
    figure = new(len(modes), titles=[mode.replace("_", " ") for mode in modes], shared_yaxes=True)
    exact = {"mode": "lines", "line": {"dash": "dot", "color": INK, "width": 1}}
    for column, mode in enumerate(modes, 1):
        y = arithmetic.rounded(fmt, x, mode, "saturate", np.random.default_rng(0))
        is_random, colour = mode == "stochastic", {"color": PALETTE[column - 1]}
        look = {"mode": "markers", "marker": {"size": 3} | colour} if is_random else {"mode": "lines", "line": colour}
        figure.add_scatter(x=x, y=y, **look, row=1, col=column)
        figure.add_scatter(x=[low, high], y=[low, high], **exact, row=1, col=column)
    how = f"{x.size:,} inputs, encoded and decoded"
    return _finished(figure, f"{name_of(fmt)}: what comes out for what goes in", how, height=270)


def draw_sums(curves: Mapping[str, npt.ArrayLike], *, title: str) -> Any:
    """Running sums: each curve's value after so many additions."""
    drawn = {}
    for name, curve in curves.items():
        y = np.asarray(curve, np.float64)
        at = np.unique(np.linspace(0, y.size - 1, 400).astype(int))
        drawn[name] = (at + 1, y[at])
    figure = axes(lines(new(), drawn), "additions", "running sum")
    how = "every sum rounded to the format after each addition"
    return _finished(figure, title, how, height=340, named=True)


def draw_spread(results: npt.ArrayLike, exactly: float, *, title: str, label: str) -> Any:
    """How often each of several results came that should all be equal; the exact one is a line."""
    errors, orders = np.unique(np.asarray(results, np.float64) - exactly, return_counts=True)
    figure = axes(new().add_bar(x=errors, y=orders, marker_color=PALETTE[0]), label, "orders")
    figure.add_vline(
        x=0, line_dash="dash", line_color=PALETTE[1], annotation_text="exact sum", annotation_position="top left",
        annotation_font_color=PALETTE[1],
    )  # fmt: skip
    figure.update_xaxes(exponentformat="power")
    return _finished(figure, title, f"{orders.sum():,} orders of the same numbers", height=290)


def draw_tradeoff(values: npt.ArrayLike, names: Sequence[str | Format]) -> Any:
    """SQNR over bits per value with scales: a curve per element format along its granularities, stars for the rest."""
    array, figure = np.asarray(values, np.float32), new()
    for number, which in enumerate(names):
        fmt = find_format(which, blocks=True)
        name, row, whole = name_of(fmt), sqnr_row(fmt, array), isinstance(fmt, BlockFormat)
        figure.add_scatter(
            x=[bits for _, bits in row.values()], y=[db for db, _ in row.values()], name=name, text=list(row),
            mode="markers+text" if whole else "lines+markers", hovertemplate="%{x:.3f} bits, %{y:.1f} dB (%{text})",
            textposition="middle right", texttemplate=f" {name}" if whole else "", line=line(number),
            marker={"size": 15, "symbol": "star"} if whole else {"size": 8},
        )  # fmt: skip
    axes(figure, "bits per value, scales included", "SQNR, dB")
    return _finished(figure, "What a bit buys", f"{array.size:,} values quantised", height=380, named=True)


def draw_curves(
    x: npt.ArrayLike, curves: Mapping[str, npt.ArrayLike], *, title: str, across: str, up: str,
    marks: Mapping[str, float] | None = None,
) -> Any:  # fmt: skip
    """Curves over one axis, with named places on it as dotted lines."""
    figure = lines(new(), {name: (x, y) for name, y in curves.items()}, mode="lines+markers")
    for name, place in (marks or {}).items():
        figure.add_vline(x=place, line_dash="dot", line_color=INK, annotation_text=name)
    return _finished(axes(figure, across, up), title, "computed by the cells above", height=370, named=True)

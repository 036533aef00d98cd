"""teach/formatcharts: number formats as pictures: where values lie, how precise they are, what rounding does, what
a bit buys.

In: descriptions from numeric/formats, arrays from numeric/arithmetic. Out: plotly figures that say what computed them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.numeric import BlockFormat, FloatFormat, Format, arithmetic
from trtlab.numeric.describe import Rounding
from trtlab.teach.figure import INK, PALETTE, axes, finish, line, lines, new, ticks
from trtlab.teach.formats import find_format, name_of, sqnr_row

Array = npt.NDArray[Any]


def _finished(figure: Any, title: str, how: str, **look: Any) -> Any:
    """One provenance for all figures of this file: numpy, here, now."""
    return finish(figure, title, [live(["numpy"])], says=[how], **look)


def _values(fmt: Format) -> Array:
    """All finite values of a format of at most 16 bits, ascending; +0 and -0 once."""
    if fmt.bits > 16:
        raise ValueError(
            f"{name_of(fmt)} has 2^{fmt.bits} values, too many to draw; expected a format of at most 16 bits"
        )
    values = fmt.decode(fmt.all_codes())
    return np.unique(values[np.isfinite(values)]).astype(np.float64)


# --- where values lie -------------------------------------------------------------------------------------------------


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
                text=name, x=(plateau[0] + plateau[-1] + 1) / 2, y=max(y), yshift=9, showarrow=False,
                font={"size": 12, "color": look["color"]}, row=1, col=column,
            )  # fmt: skip
    axes(figure, "magnitude: 2 to the power of", "significant bits").update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text="", col=2)
    return _finished(
        figure, "Range is width, precision is height", "computed from the descriptions of the formats", height=380
    )


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
    values = {name_of(fmt): _values(fmt) for fmt in formats}
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
    values = {name_of(fmt): _values(fmt) for fmt in map(find_format, names)}
    edges = np.arange(-most, most + 1)
    counts = {name: np.histogram(x[x < most], edges)[0] for name, x in values.items()}
    figure = new(2, horizontal_spacing=0.12)
    units = {name: (edges[:-1], np.where(found, found, np.nan)) for name, found in counts.items()}
    octaves = {name: np.unique(np.frexp(x[x > 0])[1] - 1, return_counts=True) for name, x in values.items()}
    for column, curves in enumerate((units, octaves), 1):
        lines(figure, curves, column=column, line_shape="hv")
    figure.update_xaxes(title_text="value", col=1)
    figure.update_xaxes(title_text="2 to the power of", col=2)
    figure.update_yaxes(title_text="values in each unit", col=1)
    figure.update_yaxes(title_text="positive values in each octave", col=2)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    title = "Floats crowd around zero, integers are evenly spread"
    return _finished(figure, title, "all codes decoded and counted", height=370, named=True)


# --- what rounding does -----------------------------------------------------------------------------------------------


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


def draw_sums(curves: Mapping[str, npt.ArrayLike], *, title: str, most_points: int = 400) -> Any:
    """Running sums: each curve's value after so many additions."""
    drawn = {}
    for name, curve in curves.items():
        y = np.asarray(curve, np.float64)
        at = np.unique(np.linspace(0, y.size - 1, most_points).astype(int))
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


# --- what a bit buys --------------------------------------------------------------------------------------------------


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

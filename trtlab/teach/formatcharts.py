"""teach/formatcharts: number formats as pictures: where their values lie, how precise they are, what rounding does.

In: descriptions from numeric/formats, arrays from numeric/arithmetic. Out: plotly figures that say what computed them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.numeric import FloatFormat, Format, arithmetic
from trtlab.numeric.formats import Rounding
from trtlab.teach.charts import GRID, INK, draw_foot, style_figure
from trtlab.teach.formats import find_format, name_of

Array = npt.NDArray[Any]
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c959f", "#b8a600")  # Okabe and Ito's
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")


def _values(fmt: Format) -> Array:
    """All finite values of a format of at most 16 bits, ascending; +0 and -0 once."""
    if fmt.bits > 16:
        raise ValueError(
            f"{name_of(fmt)} has 2^{fmt.bits} values, too many to draw; expected a format of at most 16 bits"
        )
    values = fmt.decode(fmt.all_codes())
    return np.unique(values[np.isfinite(values)]).astype(np.float64)


def draw_precision(names: Iterable[str | Format]) -> Any:
    """Significant bits at every magnitude: as wide as the range, as high as the precision, sloping where subnormal."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, fmt in enumerate(map(find_format, names)):
        octaves, bits = _significant_bits(fmt)
        figure.add_scatter(
            x=octaves, y=bits, mode="lines", line_shape="hv", name=name_of(fmt), hovertemplate="2^%{x}: %{y} bits",
            line={"color": PALETTE[i % 8], "dash": DASHES[i % 8], "width": 2.5},
        )  # fmt: skip
    figure.update_xaxes(title_text="magnitude: 2 to the power of", gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text="significant bits", gridcolor=GRID, rangemode="tozero", zeroline=False)
    return _finished(
        figure, "Range is width, precision is height", 430, "computed from the descriptions of the formats"
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
    import plotly.graph_objects as go

    formats = [*map(find_format, names)]
    limit = min(float(fmt.max) for fmt in formats) if most is None else most
    figure = go.Figure()
    for i, fmt in enumerate(formats):
        values = _values(fmt)
        shown = values[values > 0] if scale == "log" else values[np.abs(values) <= limit]
        figure.add_scatter(
            x=shown, y=[f"{name_of(fmt)} "] * shown.size, mode="markers", hovertemplate="%{x}<extra></extra>",
            marker={"symbol": "line-ns-open", "size": 22, "color": PALETTE[i % 8], "line": {"width": 1.4}},
        )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=scale != "log", zerolinecolor=INK)
    if scale == "log":
        figure.update_xaxes(type="log", exponentformat="power", title_text="positive values, logarithmic")
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont={"size": 13})
    return _finished(
        figure, f"Every value is a tick ({scale})", 170 + 52 * len(formats), "all codes decoded", legend=False
    )


def draw_density(names: Sequence[str | Format], *, most: float = 8.0) -> Any:
    """How many values lie in each unit interval between -most and most, and in each octave. Logarithmic upwards."""
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=2, horizontal_spacing=0.12)
    for i, fmt in enumerate(map(find_format, names)):
        values, look = _values(fmt), {"color": PALETTE[i % 8], "dash": DASHES[i % 8], "width": 2.5}
        counts, edges = np.histogram(values, np.arange(-most, most + 1))
        octaves, in_octave = np.unique(np.frexp(values[values > 0])[1] - 1, return_counts=True)
        same = {"mode": "lines", "line_shape": "hv", "line": look, "name": name_of(fmt), "legendgroup": name_of(fmt)}
        figure.add_scatter(x=edges[:-1], y=np.where(counts, counts, np.nan), **same, row=1, col=1)
        figure.add_scatter(x=octaves, y=in_octave, **same, showlegend=False, row=1, col=2)
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_xaxes(title_text="value", col=1)
    figure.update_xaxes(title_text="2 to the power of", col=2)
    figure.update_yaxes(title_text="values in each unit", col=1)
    figure.update_yaxes(title_text="positive values in each octave", col=2)
    figure.update_yaxes(type="log", gridcolor=GRID, exponentformat="power", dtick=1)
    return _finished(
        figure, "Floats crowd around zero, integers are evenly spread", 420, "all codes decoded and counted"
    )


def draw_staircase(name: str | Format, modes: Sequence[Rounding], *, low: float, high: float) -> Any:
    """Input to output under each rounding mode, side by side; the dotted line is no rounding at all."""
    from plotly.subplots import make_subplots

    fmt = find_format(name)
    x = np.linspace(low, high, 1201)
    figure = make_subplots(
        cols=len(modes), subplot_titles=[mode.replace("_", " ") for mode in modes], shared_yaxes=True
    )
    for i, mode in enumerate(modes):
        y = arithmetic.rounded(fmt, x, mode, "saturate", np.random.default_rng(0))
        dots = mode == "stochastic"
        drawn = (
            {"mode": "markers", "marker": {"size": 3, "color": PALETTE[i]}}
            if dots
            else {"mode": "lines", "line": {"color": PALETTE[i]}}
        )
        figure.add_scatter(x=x, y=y, **drawn, row=1, col=i + 1)
        figure.add_scatter(
            x=[low, high], y=[low, high], mode="lines", line={"dash": "dot", "color": INK, "width": 1}, row=1, col=i + 1
        )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    figure.update_annotations(font_size=12)
    return _finished(
        figure,
        f"{name_of(fmt)}: what comes out for what goes in",
        340,
        f"{x.size:,} inputs, encoded and decoded",
        legend=False,
    )


def draw_sums(curves: Mapping[str, npt.ArrayLike], *, title: str, most_points: int = 400) -> Any:
    """Running sums: each curve's value after so many additions."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (name, curve) in enumerate(curves.items()):
        y = np.asarray(curve, np.float64)
        at = np.unique(np.linspace(0, y.size - 1, most_points).astype(int))
        figure.add_scatter(
            x=at + 1,
            y=y[at],
            mode="lines",
            name=name,
            line={"color": PALETTE[i % 8], "dash": DASHES[i % 8], "width": 2.5},
        )
    figure.update_xaxes(title_text="additions", gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text="running sum", gridcolor=GRID, zeroline=False)
    return _finished(figure, title, 400, "every sum rounded to the format after each addition")


def draw_spread(results: npt.ArrayLike, exactly: float, *, title: str, label: str) -> Any:
    """How often each of several results came that should all be equal; the exact one is a line."""
    import plotly.graph_objects as go

    errors, orders = np.unique(np.asarray(results, np.float64) - exactly, return_counts=True)
    figure = go.Figure(go.Bar(x=errors, y=orders, marker_color=PALETTE[0]))
    figure.add_vline(
        x=0,
        line_dash="dash",
        line_color=PALETTE[1],
        annotation_text="exact sum",
        annotation_position="top left",
        annotation_font_color=PALETTE[1],
    )
    figure.update_xaxes(title_text=label, gridcolor=GRID, zeroline=False, exponentformat="power")
    figure.update_yaxes(title_text="orders", gridcolor=GRID)
    return _finished(figure, title, 360, f"{orders.sum():,} orders of the same numbers", legend=False)


def _finished(figure: Any, title: str, height: int, how: str, *, legend: bool = True) -> Any:
    foot = f"{how}; {draw_foot(live(['numpy']))}"
    style_figure(figure, title=title, height=height, foot=foot)
    if legend:
        figure.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    else:
        figure.update_layout(showlegend=False)
    return figure

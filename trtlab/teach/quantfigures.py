"""teach/quantfigures: quantisation as tables and curves: one block taken apart, SQNR by format and granularity.

In: arrays, formats, and what `quantize` returned. Out: `Drawing`s and plotly figures that say what computed them.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.numeric import FORMATS, BlockFormat, Format
from trtlab.numeric.quantize import Quantized, sqnr_db
from trtlab.teach.charts import GRID, INK, draw_foot, style_figure
from trtlab.teach.drawing import Drawing, escape, provenance_line, table, table_card, text_table
from trtlab.teach.formatcharts import DASHES, PALETTE
from trtlab.teach.formats import name_of
from trtlab.teach.quantview import GRANULARITIES

Array = npt.NDArray[Any]
_NUMERIC = (0, 1, 3, 4, 5, 6, 7, 9, 10, 11)  # all but the bits, in both halves of a wide table


def _quantized(fmt: Format, values: Array, granularity: str) -> Quantized:
    if isinstance(fmt, BlockFormat):
        return fmt.quantize(values, partial=True)
    return fmt.quantize(values, **GRANULARITIES[granularity], partial=True)


# --- tables ----------------------------------------------------------------------------------------------------------


def draw_block(values: npt.ArrayLike, quantized: Quantized) -> Drawing:
    """A few values that were quantised: number, code and bits, element, number again, error; the scales above.

    More than 16 stand in two columns.
    """
    x, fmt = np.asarray(values, np.float32).ravel(), quantized.format
    element = fmt.element if isinstance(fmt, BlockFormat) else fmt
    codes, restored = quantized.codes.ravel(), quantized.values.ravel()
    header = ("x", "code", "bits", "element", "becomes", "error")
    rows = [
        (f"{a:.5g}", f"{code:X}", f"{code:0{element.bits}b}", f"{float(element.decode(code)):.5g}", f"{b:.5g}",
         f"{b - a:+.3g}")
        for a, code, b in zip(x, codes, restored, strict=True)
    ]  # fmt: skip
    said, half = _scales(quantized), -(-len(rows) // 2) if len(rows) > 16 else len(rows)
    cells = [[*map(escape, row[:2]), f'<span class="mono">{row[2]}</span>', *map(escape, row[3:])] for row in rows]
    marked = [left + right for left, right in itertools.zip_longest(cells[:half], cells[half:], fillvalue=list[str]())]
    columns = header * (1 + (half < len(rows)))
    head = f'<b>{escape(fmt)}</b><span class="by">{escape(said)}</span>'
    foot = f"{quantized.size_bits} bits for {x.size} values · SQNR {sqnr_db(x, restored):.2f} dB"
    return Drawing(
        html=table_card(table(columns, marked, numeric=_NUMERIC), head=head, foot=escape(foot)),
        text=f"{fmt}: {said}\n{text_table(header, rows)}\n{foot}",
    )


def _scales(quantized: Quantized) -> str:
    """`scale 0.5 = code 7E`, for each group, and the tensor's scale."""
    pairs = zip(np.ravel(quantized.scales), np.ravel(quantized.scale_codes), strict=True)
    words = [f"scale {scale:.6g} = code {code:X}" for scale, code in pairs]
    tensor = [] if quantized.tensor_scale is None else [f"tensor scale {quantized.tensor_scale:.6g}"]
    zeros = [] if quantized.zero_points is None else [f"zero point {np.ravel(quantized.zero_points).tolist()}"]
    return ", ".join(words + zeros + tensor)


def draw_sqnr(values: npt.ArrayLike, names: Sequence[str | Format]) -> Drawing:
    """SQNR in dB of every format under every granularity, darker where better; bits per value beneath each."""
    array, formats = np.asarray(values, np.float32), _formats(names)
    header = ("SQNR, dB", "one per tensor", "per row", *(f"blocks of {g}" for g in list(GRANULARITIES)[2:]))
    found = {name_of(fmt): _sqnr_row(fmt, array) for fmt in formats}
    most = max((db for row in found.values() for db, _ in row.values() if db < math.inf), default=1.0)
    rows, marked = [], []
    for name, row in found.items():
        rows.append([name, *(f"{row[g][0]:.1f}" if g in row else "" for g in GRANULARITIES)])
        marked.append([f"<b>{escape(name)}</b>", *(_shaded(*row[g], most) if g in row else "" for g in GRANULARITIES)])
    foot = f"{array.size:,} values; small: bits per value with all scales. {provenance_line(live(['numpy']))}"
    return Drawing(
        html=table_card(table(header, marked, numeric=range(1, len(header))), foot=foot),
        text=text_table(header, rows),
    )


def _formats(names: Sequence[str | Format]) -> list[Format]:
    if unknown := [name for name in names if isinstance(name, str) and name not in FORMATS]:
        raise KeyError(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}")
    return [FORMATS[name] if isinstance(name, str) else name for name in names]


def _sqnr_row(fmt: Format, array: Array) -> dict[str, tuple[float, float]]:
    """Granularity to (dB, bits per value); a block format has one, in the column of its block size."""
    names = [str(fmt.block_size)] if isinstance(fmt, BlockFormat) else list(GRANULARITIES)
    found = {name: _quantized(fmt, array, name) for name in names}
    return {name: (sqnr_db(array, q.values), q.bits_per_value) for name, q in found.items()}


def _shaded(db: float, bits: float, most: float) -> str:
    share = 45 * min(max(db, 0) / max(most, 1), 1)
    look = f"background: color-mix(in srgb, #0072b2 {share:.0f}%, transparent); padding: 1px 7px; border-radius: 5px"
    return f'<span style="{look}">{db:.1f}</span> <span class="dim">{bits:.3g}</span>'


# --- figures ---------------------------------------------------------------------------------------------------------


def draw_tradeoff(values: npt.ArrayLike, names: Sequence[str | Format]) -> Any:
    """SQNR over bits per value with scales: a curve per element format along its granularities, stars for the rest."""
    import plotly.graph_objects as go

    array, figure = np.asarray(values, np.float32), go.Figure()
    for i, fmt in enumerate(_formats(names)):
        name, row, whole = name_of(fmt), _sqnr_row(fmt, array), isinstance(fmt, BlockFormat)
        mark = {"size": 15, "symbol": "star"} if whole else {"size": 8}
        figure.add_scatter(
            x=[bits for _, bits in row.values()], y=[db for db, _ in row.values()], name=name, text=list(row),
            mode="markers+text" if whole else "lines+markers", hovertemplate="%{x:.3f} bits, %{y:.1f} dB (%{text})",
            textposition="middle right", texttemplate=f" {name}" if whole else "", marker=mark,
            line={"color": PALETTE[i % 8], "dash": DASHES[i % 8]},
        )  # fmt: skip
    figure.update_xaxes(title_text="bits per value, scales included", gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text="SQNR, dB", gridcolor=GRID, zeroline=False)
    return _finished(figure, "What a bit buys", 440, f"{array.size:,} values quantised")


def draw_curves(
    x: npt.ArrayLike, curves: Mapping[str, npt.ArrayLike], *, title: str, across: str, up: str,
    marks: Mapping[str, float] | None = None,
) -> Any:  # fmt: skip
    """Curves over one axis, with named places on it as dotted lines."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (name, y) in enumerate(curves.items()):
        line = {"color": PALETTE[i % 8], "dash": DASHES[i % 8], "width": 2.5}
        figure.add_scatter(x=np.asarray(x), y=np.asarray(y), mode="lines+markers", name=name, line=line)
    for name, place in (marks or {}).items():
        figure.add_vline(x=place, line_dash="dot", line_color=INK, annotation_text=name)
    figure.update_xaxes(title_text=across, gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text=up, gridcolor=GRID, zeroline=False)
    return _finished(figure, title, 420, "computed by the cells above")


def draw_levels(levels: Mapping[str, npt.ArrayLike], *, title: str) -> Any:
    """Rows of ticks on one axis: the levels of each name."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (name, values) in enumerate(levels.items()):
        x = np.asarray(values, np.float64)
        figure.add_scatter(
            x=x, y=[f"{name} "] * x.size, mode="markers", hovertemplate="%{x:.6g}<extra></extra>", name=name,
            marker={"symbol": "line-ns-open", "size": 24, "color": PALETTE[i % 8], "line": {"width": 2}},
        )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=True, zerolinecolor=INK)
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont={"size": 13})
    figure = _finished(figure, title, 180 + 48 * len(levels), "all codes decoded")
    return figure.update_layout(showlegend=False)


def _finished(figure: Any, title: str, height: int, how: str) -> Any:
    style_figure(figure, title=title, height=height, foot=f"{how}; {draw_foot(live(['numpy']))}")
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})

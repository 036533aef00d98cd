"""teach/fusionfigures: fused against unfused: time, bandwidth, launches and bytes, length; and what follows.

In: sweeps of engine/fusiontimes, live and recorded. Out: plotly figures with a panel for each sweep, and a card of
findings. Solid lines are one kernel, dashed ones a kernel per operator, dotted is the copy. Each prints its provenance.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trtlab.engine.fusionfacts import findings
from trtlab.engine.fusiontimes import Row, Sweep
from trtlab.engine.fusionways import FUSED, ITEM_BYTES, Way
from trtlab.engine.measure import merged
from trtlab.teach.charts import GRID, INK, draw_foot, style_figure
from trtlab.teach.drawing import (
    Drawing,
    badge,
    escape,
    origin_badge,
    provenance_line,
    seconds_text,
    table,
    table_card,
    text_table,
)

COLOURS = {
    Way.NUMPY: "#cc79a7", Way.NUMPY_OUT: "#b8a600", Way.TORCH: "#e69f00", Way.TORCH_OUT: "#d55e00",
    Way.COMPILED: "#56b4e9", Way.GENERATED: "#009e73", Way.GRAPH_UNFUSED: "#9a6a4f", Way.GRAPH_FUSED: "#9a6a4f",
    Way.LONG_GRAPH_UNFUSED: "#0072b2", Way.LONG_GRAPH_FUSED: "#0072b2", Way.COPY: INK,
}  # fmt: skip
_DOES_NOT_HOLD = "not seen in this run"


def draw_fusion_times(*sweeps: Sweep) -> Any:
    """Time of ReLU(A*B + C) over the number of elements, both logarithmic; a panel for each sweep."""
    figure = _panels(sweeps, lambda sweep, way: sweep.of(way), lambda row: row.elements, lambda row: row.seconds * 1e6)
    _size_axis(figure)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return _finished(figure, sweeps, "ReLU(A*B + C): flat where launches rule, straight where bytes do", "microseconds")


def draw_fusion_bandwidth(*sweeps: Sweep) -> Any:
    """Bytes by the traffic model over the time taken, beside the copy of the same run; a panel for each sweep."""
    figure = _panels(
        sweeps, lambda sweep, way: sweep.of(way), lambda row: row.elements, lambda row: row.bytes_per_s / 1e9
    )
    _size_axis(figure)
    figure.update_yaxes(rangemode="tozero")
    return _finished(figure, sweeps, "Bandwidth reached, by the traffic model", "GB/s")


def draw_fusion_chains(*sweeps: Sweep) -> Any:
    """Time over the number of operations on the same three inputs; a panel for each sweep."""
    figure = _panels(sweeps, Sweep.chains, lambda row: row.operations, lambda row: row.seconds * 1e6)
    figure.update_xaxes(type="log", tickvals=[2, 4, 8, 16, 32], title_text="operations")
    figure.update_yaxes(type="log", tickvals=[m * 10**k for k in range(8) for m in (1, 2, 5)], tickformat=",")
    sizes = ", ".join(f"2^{s.chains(Way.COPY)[0].elements.bit_length() - 1}" for s in sweeps)
    return _finished(figure, sweeps, f"Longer chains on the same A, B and C ({sizes} elements)", "microseconds")


def draw_fusion_traffic(sweep: Sweep) -> Any:
    """Launches, kernels, and arrays read and written, for each way to compute ReLU(A*B + C)."""
    from plotly.subplots import make_subplots

    rows = [sweep.find(way, sweep.sizes()[0]) for way in sweep.ways()]
    names = [row.way.value for row in rows]
    figure = make_subplots(
        cols=3, shared_yaxes=True, subplot_titles=("starts by the host", "kernels", "arrays read and written")
    )
    values: tuple[list[float], ...] = (
        [row.launches for row in rows],
        [float(row.kernels) for row in rows],
        [row.bytes_moved / (row.elements * ITEM_BYTES) for row in rows],
    )
    for column, numbers in enumerate(values, 1):
        text = [f"{number:.2g}" for number in numbers]
        bar: dict[str, Any] = {"orientation": "h", "marker_color": [COLOURS[row.way] for row in rows]}
        figure.add_bar(y=names, x=numbers, text=text, textposition="auto", **bar, row=1, col=column)
    figure.update_xaxes(gridcolor=GRID, rangemode="tozero", dtick=2)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_annotations(font_size=12)
    foot = f"counted by the traffic model: each kernel reads each input once<br>{draw_foot(sweep.provenance, 80)}"
    return style_figure(figure, title="What each way asks of the device", height=200 + 26 * len(rows), foot=foot)


def draw_fusion_findings(*sweeps: Sweep) -> Drawing:
    """What follows from the numbers, for each sweep: question and answer, and a word where a run did not show it."""
    header = ("", "question", "measured", "what follows")
    lines, marked = [], []
    for sweep in sweeps:
        origin = sweep.provenance.origin
        for found in findings(sweep):
            follows = found.lesson if found.holds else _DOES_NOT_HOLD
            lines.append((origin.value, found.question, found.measured, follows))
            shown = escape(follows) if found.holds else badge(follows, "stood")
            marked.append((origin_badge(origin), escape(found.question), escape(found.measured), shown))
    made = merged(sweep.provenance for sweep in sweeps)
    foot = "<br>".join(map(provenance_line, made))
    text = "\n".join([text_table(header, lines), *(part.line() for part in made)])
    return Drawing(html=table_card(table(header, marked), foot=foot), text=text)


def _panels(
    sweeps: Sequence[Sweep], pick: Callable[[Sweep, Way], Sequence[Row]], x: Callable[[Row], float],
    y: Callable[[Row], float],
) -> Any:  # fmt: skip
    """A line for each way in each panel; one legend serves all panels."""
    from plotly.subplots import make_subplots

    if not sweeps:
        raise ValueError("no sweep to draw: expected at least one from trtlab.engine.fusiontimes (sweep or load)")
    titles = [f"{s.provenance.origin.value}: {s.provenance.device}" for s in sweeps]
    figure = make_subplots(cols=len(sweeps), subplot_titles=titles, horizontal_spacing=0.1)
    for column, sweep in enumerate(sweeps, 1):
        for way in sweep.ways():
            rows = pick(sweep, way)
            known = any(trace.name == way.value for trace in figure.data)
            figure.add_scatter(
                x=[x(row) for row in rows], y=[float(f"{y(row):.4g}") for row in rows], mode="lines+markers",
                name=way.value, legendgroup=way.value, showlegend=not known, text=[_hover(row) for row in rows],
                hovertemplate="%{text}", marker={"size": 5, "color": COLOURS[way]},
                line={"color": COLOURS[way], "width": 2, "dash": _dash(way)}, row=1, col=column,
            )  # fmt: skip
    return figure


def _size_axis(figure: Any) -> None:
    powers = range(10, 31, 4)
    ticks = {"tickvals": [2**k for k in powers], "ticktext": [f"2<sup>{k}</sup>" for k in powers]}
    figure.update_xaxes(type="log", title_text="elements", **ticks)


def _dash(way: Way) -> str:
    return "dot" if way is Way.COPY else "solid" if way in FUSED else "dash"


def _hover(row: Row) -> str:
    low, high = row.time.quartiles_s
    spread = f"quartiles {seconds_text(low)} to {seconds_text(high)}, {len(row.time.samples_s)} samples"
    return f"2^{row.elements.bit_length() - 1}, {row.operations} operations: {seconds_text(row.seconds)}<br>{spread}"


def _finished(figure: Any, sweeps: Sequence[Sweep], title: str, unit: str) -> Any:
    figure.update_annotations(font_size=12)
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text=unit, col=1)
    lines = [draw_foot(part) for part in merged(s.provenance for s in sweeps)]
    foot = "<br>".join(["solid: one kernel; dashed: one per operator; dotted: the copy", *lines])
    style_figure(figure, title=title, height=580, foot=foot)
    figure.layout.annotations[-1].yshift = -135
    legend = {"orientation": "h", "x": 0, "y": 1.08, "yanchor": "bottom", "font": {"size": 11}}
    return figure.update_layout(showlegend=True, legend=legend, margin={"t": 165, "b": 145}, title_y=0.98)

"""teach/charts: where the time of a workflow goes, and fused against unfused.

In: frozen values of the lab: records, sweeps live and recorded. Out: plotly figures. In those of sweeps
solid lines are one kernel, dashed ones a kernel per operator, dotted is the copy; a panel for each sweep, and at most
five lines at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

from trtlab.lab.fusion import Row, Sweep
from trtlab.lab.ways import FUSED, Way
from trtlab.lab.workflow import WORKFLOW, StageRecord, Status
from trtlab.numeric.units import raised, seconds_text
from trtlab.teach.figure import INK, finish, new

COLOURS = {Status.DONE: "#76b900", Status.STOOD_IN: "#d29922", Status.IMPOSSIBLE: "#8c959f"}
WAYS = {
    Way.NUMPY: "#cc79a7", Way.NUMPY_OUT: "#b8a600", Way.TORCH: "#e69f00", Way.TORCH_OUT: "#d55e00",
    Way.COMPILED: "#56b4e9", Way.GENERATED: "#009e73", Way.GRAPH_UNFUSED: "#9a6a4f", Way.GRAPH_FUSED: "#9a6a4f",
    Way.LONG_GRAPH_UNFUSED: "#0072b2", Way.LONG_GRAPH_FUSED: "#0072b2", Way.COPY: INK,
}  # fmt: skip
AT_ONCE = (Way.TORCH_OUT, Way.GENERATED, Way.LONG_GRAPH_UNFUSED, Way.LONG_GRAPH_FUSED, Way.COPY)
"""What shows at first; the legend adds the other ways."""


# --- the workflow -----------------------------------------------------------------------------------------------------


def draw_waterfall(records: Sequence[StageRecord]) -> Any:
    """Where the time goes: one bar per timed stage, laid end to end, in milliseconds."""
    timed = [record for record in records if record.seconds is not None]
    lengths = [1e3 * (record.seconds or 0.0) for record in timed]
    figure = new().add_bar(
        y=[WORKFLOW[r.name].title for r in timed], x=lengths, base=[sum(lengths[:i]) for i in range(len(timed))],
        orientation="h", marker_color=[COLOURS[r.status] for r in timed], text=[seconds_text(r.seconds) for r in timed],
        textposition="outside", cliponaxis=False, hovertext=[f"{r.executor}<br>{r.status.value}" for r in timed],
    )  # fmt: skip
    figure.update_xaxes(title_text="milliseconds", range=[0, sum(lengths) * 1.12])
    figure.update_yaxes(autorange="reversed")
    stood_in = any(record.status is Status.STOOD_IN for record in timed)
    says = ["amber: ONNX Runtime stood in"] * stood_in
    made = [record.provenance for record in timed]
    return finish(figure, "Where the time goes", made, height=75 + 30 * len(timed), says=says)


# --- fused against unfused --------------------------------------------------------------------------------------------


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
    sizes = ", ".join(f"2{raised(s.chains(Way.COPY)[0].elements.bit_length() - 1)}" for s in sweeps)
    return _finished(figure, sweeps, f"Longer chains on the same A, B and C ({sizes} elements)", "microseconds")


def _panels(
    sweeps: Sequence[Sweep], pick: Callable[[Sweep, Way], Sequence[Row]], x: Callable[[Row], float],
    y: Callable[[Row], float],
) -> Any:  # fmt: skip
    """A line for each way in each panel; one legend of those that wait to be asked for serves all panels."""
    if not sweeps:
        raise ValueError("no sweep to draw: expected at least one from trtlab.lab.fusion (sweep or load)")
    titles = [f"{s.provenance.origin.value}:<br>{s.provenance.device}" for s in sweeps]
    figure, known = new(len(sweeps), titles=titles, horizontal_spacing=0.1), set[Way]()
    for column, sweep in enumerate(sweeps, 1):
        for way in sweep.ways():
            rows = pick(sweep, way)
            figure.add_scatter(
                x=[x(row) for row in rows], y=[float(f"{y(row):.4g}") for row in rows], mode="lines+markers",
                name=way.value, legendgroup=way.value, showlegend=way not in known and way not in AT_ONCE,
                visible=None if way in AT_ONCE else "legendonly", text=[_hover(row) for row in rows],
                hovertemplate="%{text}", marker={"size": 5, "color": WAYS[way]},
                line={"color": WAYS[way], "width": 2, "dash": _dash(way)}, row=1, col=column,
            )  # fmt: skip
            known.add(way)
    return figure


def _size_axis(figure: Any) -> None:
    powers = range(10, 31, 4)
    named = {"tickvals": [2**k for k in powers], "ticktext": [f"2<sup>{k}</sup>" for k in powers]}
    figure.update_xaxes(type="log", title_text="elements", **named)


def _dash(way: Way) -> str:
    return "dot" if way is Way.COPY else "solid" if way in FUSED else "dash"


def _hover(row: Row) -> str:
    low, high = row.time.quartiles_s
    spread = f"quartiles {seconds_text(low)} to {seconds_text(high)}, {len(row.time.samples_s)} samples"
    size = f"2{raised(row.elements.bit_length() - 1)}"
    return f"{size}, {row.operations} operations: {seconds_text(row.seconds)}<br>{spread}"


def _finished(figure: Any, sweeps: Sequence[Sweep], title: str, unit: str) -> Any:
    figure.update_yaxes(title_text=unit, col=1)
    says = ["solid: one kernel; dashed: one per operator; dotted: the copy", "a click on a name above adds its line"]
    made = [sweep.provenance for sweep in sweeps]
    return finish(figure, title, made, height=430, says=says, legend_px=50, named=True)

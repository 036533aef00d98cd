"""teach/charts: the plotly figures. Each prints its provenance under the plot, and works in light and dark.

In: frozen values of the engine room. Out: plotly figures, static enough to be saved as pictures with the notebook.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from trtlab.engine.measure import Provenance, merged
from trtlab.lab.workflow import Comparison, StageRecord, Status
from trtlab.teach.drawing import seconds_text
from trtlab.teach.tables import TITLES

COLOURS = {Status.DONE: "#76b900", Status.STOOD_IN: "#d29922", Status.IMPOSSIBLE: "#8c959f"}
INK = "#7d8590"
GRID = "rgba(125,133,144,.25)"
FONT = {"family": "system-ui, sans-serif", "size": 13, "color": INK}


def style_figure(figure: Any, *, title: str, height: int, foot: str) -> Any:
    figure.update_layout(
        title={"text": title, "x": 0, "xanchor": "left", "font": {"size": 16}},
        height=height, width=760, font=FONT, showlegend=False, margin={"l": 10, "r": 20, "t": 70, "b": 95},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.add_annotation(
        text=foot, xref="paper", yref="paper", x=0, y=0, yshift=-90, xanchor="left", yanchor="bottom",
        showarrow=False, font={"size": 11, "color": INK}, align="left",
    )  # fmt: skip
    return figure


def draw_foot(provenance: Provenance, most: int = 105) -> str:
    """A provenance line in pieces that fit under a figure."""
    return "<br>".join(textwrap.wrap(provenance.line(), most))


def draw_waterfall(records: Sequence[StageRecord]) -> Any:
    """Where the time goes: one bar per timed stage, laid end to end, in milliseconds."""
    import plotly.graph_objects as go

    timed = [record for record in records if record.seconds is not None]
    starts = [1e3 * sum(r.seconds or 0.0 for r in timed[:i]) for i in range(len(timed))]
    figure = go.Figure(
        go.Bar(
            y=[TITLES[r.name] for r in timed],
            x=[1e3 * (r.seconds or 0.0) for r in timed],
            base=starts,
            orientation="h",
            marker_color=[COLOURS[r.status] for r in timed],
            text=[seconds_text(r.seconds) for r in timed],
            textposition="outside",
            cliponaxis=False,
            hovertext=[f"{r.executor}<br>{r.status.value}" for r in timed],
        )
    )
    total = sum(1e3 * (r.seconds or 0.0) for r in timed)
    figure.update_xaxes(title_text="milliseconds", range=[0, total * 1.12], gridcolor=GRID, zeroline=False)
    figure.update_yaxes(autorange="reversed", automargin=True)
    foot = "<br>".join(draw_foot(provenance) for provenance in merged(r.provenance for r in timed))
    if any(r.status is Status.STOOD_IN for r in timed):
        foot += "<br>amber: ONNX Runtime stood in"
    return style_figure(figure, title="Where the time goes", height=150 + 30 * len(timed), foot=foot)


def draw_predictions(result: Comparison, *, columns: int = 8) -> Any:
    """The scans themselves, each with its label and the network's answer."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    count = len(result.predictions)
    rows = -(-count // columns)
    titles = [str(answer) for answer in result.predictions]
    foot = f"{count} inputs without labels; above each: the answer of {result.executor}"
    if result.labels is not None:
        titles = [
            f"{answer} {'✓' if answer == label else f'✗ is {label}'}"
            for answer, label in zip(result.predictions, result.labels, strict=True)
        ]
        foot = f"{count} scans of the held-out test split; above each: the answer of {result.executor}"
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=titles, horizontal_spacing=0.015, vertical_spacing=0.16
    )
    for i, image in enumerate(result.inputs):
        heat = go.Heatmap(z=image[0], colorscale="gray", showscale=False, hoverinfo="skip")
        figure.add_trace(heat, row=i // columns + 1, col=i % columns + 1)
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain")
    foot += f"<br>{draw_foot(result.provenance)}"
    return style_figure(figure, title="What the network saw, and what it said", height=150 + 108 * rows, foot=foot)

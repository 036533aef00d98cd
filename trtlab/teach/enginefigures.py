"""teach/enginefigures: the life of a glass-box engine: what is paid when, who waits for whom, and its kernels.

In: lives of engine/enginetimes, live and recorded; kernels with their times. Out: plotly figures and a table. A shape
of marker and a colour belong to each life; every picture prints where its numbers come from.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trtlab.engine.enginetimes import Life
from trtlab.engine.freshprocess import Phase
from trtlab.engine.measure import Provenance, merged
from trtlab.teach.charts import GRID, INK, draw_foot, style_figure
from trtlab.teach.drawing import (
    Drawing,
    chips,
    escape,
    origin_badge,
    provenance_line,
    seconds_text,
    table,
    table_card,
    text_table,
)

if TYPE_CHECKING:
    from trtlab.engine.glassbox.runtime import KernelInfo

LOOKS = (("#009e73", "circle"), ("#2b8cc4", "diamond"), ("#d55e00", "square"))
"""Colour and marker of the first life, the second, the third."""
BUSY, FREE = "#d55e00", "rgba(0,158,115,.35)"
PEERS = (Phase.ORT, Phase.EAGER, Phase.CHANNELS_LAST)
PARTS = {
    "once": (Phase.BUILD, Phase.TUNE),
    "at every start": (Phase.START, Phase.LOAD, Phase.CONTEXT, Phase.FIRST),
    "for every request": (Phase.RUN, Phase.KERNELS, *PEERS),
}


def draw_engine_life(*lives: Life) -> Any:
    """What is paid once, at every start and for every request: a row for each phase, seconds on a logarithmic axis."""
    import plotly.graph_objects as go

    _check_lives(lives)
    figure = go.Figure()
    for (colour, symbol), place, life in zip(
        LOOKS, ("top center", "bottom center", "middle right"), lives, strict=False
    ):
        phases = [phase for part in PARTS.values() for phase in part if phase in life.times]
        figure.add_scatter(
            y=[phase.value for phase in phases], x=[float(f"{life.seconds(phase):.4g}") for phase in phases],
            mode="markers+text", marker={"size": 11, "color": colour, "symbol": symbol}, name=_title(life),
            text=[seconds_text(life.seconds(phase)) for phase in phases], textposition=place,
            textfont={"size": 11, "color": colour}, hovertext=[str(life.times[phase]) for phase in phases],
        )  # fmt: skip
    rows = [phase.value for part in PARTS.values() for phase in part if any(phase in life.times for life in lives)]
    least = min(min(trace.x) for trace in figure.data)
    ticks = [10.0**k for k in range(-6, 3)]
    figure.update_xaxes(type="log", range=[math.log10(least / 20), 1.5], tickvals=ticks, gridcolor=GRID,
                        ticktext=[*map(seconds_text, ticks)])  # fmt: skip
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1], automargin=True, gridcolor=GRID)
    _mark_parts(figure, rows)
    return _finished(figure, lives, "Paid once, at every start, for every request", height=110 + 44 * len(rows))


def _mark_parts(figure: Any, rows: Sequence[str]) -> None:
    """A line between the parts, and the name of each where it begins."""
    top = len(rows) - 0.5
    for name, phases in PARTS.items():
        figure.add_annotation(text=f"<b>{name}</b>", x=0, xref="x domain", xanchor="left", y=top, yanchor="top",
                              showarrow=False, font={"size": 12, "color": INK})  # fmt: skip
        top -= sum(phase.value in rows for phase in phases)
        if top > 0:
            figure.add_hline(y=top, line={"color": INK, "width": 1, "dash": "dot"})


def draw_enqueue(*lives: Life) -> Any:
    """Two ways to ask: `run` holds the host until the results are there, `enqueue` returns at once."""
    from plotly.subplots import make_subplots

    _check_lives(lives)
    titles = [f"{life.provenance.origin.value}: {life.provenance.device}" for life in lives]
    figure = make_subplots(cols=len(lives), subplot_titles=titles, shared_yaxes=True)
    rows = ["run", "enqueue,<br>synchronise"]
    for column, life in enumerate(lives, 1):
        run, called, done = (1e3 * life.seconds(phase) for phase in (Phase.RUN, Phase.CALL, Phase.DONE))
        bar: dict[str, Any] = {"orientation": "h", "y": rows, "width": 0.4, "showlegend": column == 1,
                               "marker_line_width": 0}  # fmt: skip
        place = {"row": 1, "col": column}
        figure.add_bar(x=[run, called], name="the host is held", marker_color=BUSY, **bar, **place)
        free = {"color": FREE, "pattern": {"shape": "/", "fgcolor": INK}}
        figure.add_bar(x=[0, done - called], name="the host is free", marker=free, **bar, **place)
        figure.add_scatter(x=[run, done], y=rows, mode="markers", name="results are there", showlegend=column == 1,
                           marker={"size": 12, "symbol": "diamond", "color": INK}, **place)  # fmt: skip
        back = f"back after {seconds_text(called / 1e3)}, results after {seconds_text(done / 1e3)}"
        for number, text in enumerate((f"back with results after {seconds_text(run / 1e3)}", back)):
            note: dict[str, Any] = {"x": 0, "y": number - 0.22, "xanchor": "left", "yanchor": "bottom"}
            figure.add_annotation(text=text, showarrow=False, **note, **place)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_xaxes(title={"text": "milliseconds", "font": {"size": 12}}, rangemode="tozero", gridcolor=GRID,
                        zeroline=False)  # fmt: skip
    figure.update_yaxes(range=[1.4, -0.6], automargin=True, showgrid=False)
    figure.update_annotations(font_size=12)
    return _finished(figure, lives, "One request: who waits, and how long", height=260)


def draw_kernels(kernels: "Sequence[KernelInfo]", provenance: Provenance) -> Drawing:
    """Every kernel of an engine with the ONNX nodes merged into it, its tactic, what it writes, and its time."""
    header = ("#", "kernel", "ONNX nodes merged into it", "tactic", "writes", "time", "share")
    whole = sum(kernel.time_us for kernel in kernels)
    rows = [
        (str(number), k.name, " + ".join(k.onnx_nodes), k.tactic, "; ".join(k.outputs),
         seconds_text(k.time_us / 1e6), f"{k.time_us / whole:.0%}")
        for number, k in enumerate(kernels)
    ]  # fmt: skip
    marked = [
        (n, escape(name), chips(k.onnx_nodes), f"<code>{escape(tactic)}</code>", f"<code>{escape(out)}</code>", time,
         f'{share}<div style="height:5px;background:{LOOKS[0][0]};width:{60 * k.time_us / whole:.0f}px"></div>')
        for k, (n, name, _, tactic, out, time, share) in zip(kernels, rows, strict=True)
    ]  # fmt: skip
    said = f"{len(kernels)} kernels, {seconds_text(whole / 1e6)} together"
    head = f'<b>The glass box\'s engine</b>{origin_badge(provenance.origin)}<span class="by push">{said}</span>'
    text = "\n".join([said, text_table(header, rows), provenance.line()])
    body = table(header, marked, numeric=(0, 5))
    return Drawing(html=table_card(body, head=head, foot=provenance_line(provenance)), text=text)


def draw_lives(lives: Iterable[Life]) -> Drawing:
    """Networks and devices in one table: what a reload saves, the runs beside those of peers, and the error."""
    lives, timed = list(lives), (Phase.BUILD, Phase.TUNE, Phase.LOAD, Phase.RUN, Phase.KERNELS)
    header = ("network", "build", "load, tune", "load", "run", "kernels", "peer", "rebuild / reload", "error")
    rows = [
        (
            f"{life.network}, {life.device}, {life.precision}, {life.provenance.origin.value}",
            *(seconds_text(life.seconds(phase) if phase in life.times else None) for phase in timed),
            "; ".join(f"{phase.value} {seconds_text(life.seconds(phase))}" for phase in PEERS if phase in life.times),
            f"{life.rebuild_s / life.seconds(Phase.LOAD):.1f}", f"{life.error:.1e}",
        )
        for life in lives
    ]  # fmt: skip
    marked = [tuple(map(escape, row)) for row in rows]
    made = merged(p for life in lives for p in (life.provenance, life.times[Phase.BUILD].provenance))
    text = "\n".join([text_table(header, rows), *(part.line() for part in made)])
    body = table(header, marked, numeric=(1, 2, 3, 4, 5, 7, 8))
    return Drawing(html=table_card(body, foot="<br>".join(map(provenance_line, made))), text=text)


def _check_lives(lives: Sequence[Life]) -> None:
    if not 1 <= len(lives) <= len(LOOKS):
        raise ValueError(f"cannot draw {len(lives)} lives: expected 1 to {len(LOOKS)} from trtlab.engine.enginetimes")


def _title(life: Life) -> str:
    made = life.provenance
    return f"{made.origin.value}: {life.network} in {life.precision}, {made.device}"


def _finished(figure: Any, lives: Sequence[Life], title: str, height: int) -> Any:
    starts = " and ".join(str(len(life.times[Phase.LOAD].samples_s)) for life in lives)
    foot = [
        *(draw_foot(life.provenance, 88) for life in lives),
        f"built and started in fresh processes: {starts} of each",
    ]
    room = 55 + 15 * sum(part.count("<br>") + 1 for part in foot)
    style_figure(figure, title=title, height=height + room, foot="<br>".join(foot))
    figure.layout.annotations[-1].yshift = -room
    legend = {"orientation": "h", "x": 0, "y": 1 + 30 / (height - 100), "yanchor": "bottom", "font": {"size": 12}}
    return figure.update_layout(showlegend=True, legend=legend, margin={"t": 110, "b": room}, title_y=0.98)

"""teach/figure: what every chart is made of: curves, rows of ticks, panels, and one `finish`.

In: numbers with names. Out: plotly figures that work in light and dark, static enough to be saved as pictures with the
notebook, each with its provenance at the foot.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import Provenance, merged
from trtlab.teach.svg import text_width

INK = "#7d8590"
GRID = "rgba(125,133,144,.25)"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c959f", "#b8a600")  # Okabe and Ito's
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
LOG = {"type": "log", "tickvals": [m * 10**k for k in range(8) for m in (1, 2, 5)], "tickformat": ","}
_AXIS = {"gridcolor": GRID, "zeroline": False, "automargin": True, "exponentformat": "power"}
_AXIS |= {"separatethousands": True, "title": {"standoff": 12, "font": {"size": 13}}}
_LOOK = {
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
    "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
    "xaxis": _AXIS, "yaxis": _AXIS,
}  # fmt: skip


def new(columns: int = 1, *, titles: Iterable[str] = (), **how: Any) -> Any:
    """An empty figure, or one of several panels side by side with a title above each. JupyterLab keeps it as wide as
    its cell; plotly's own "responsive" would leave it 0 px high once the theme changes."""
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=columns, subplot_titles=[*titles] or None, **how)
    return figure.update_annotations(font_size=12)


def line(number: int) -> dict[str, Any]:
    """Colour and dash of the first curve, the second and so on; neither is needed to tell eight of them apart."""
    return {"color": PALETTE[number % 8], "dash": DASHES[number % 8], "width": 2.5}


def lines(figure: Any, curves: Mapping[str, tuple[Any, Any]], *, column: int = 1, **how: Any) -> Any:
    """A curve for each name, (x, y), in the panel `column`; its name stands in the legend once for all panels."""
    for number, (name, (x, y)) in enumerate(curves.items()):
        look = {"mode": "lines", "line": line(number), "legendgroup": name, "showlegend": column == 1} | how
        figure.add_scatter(x=x, y=y, name=name, **look, row=1, col=column)
    return figure


def ticks(rows: Mapping[str, npt.ArrayLike], **look: Any) -> Any:
    """A tick at each value, a row for each name."""
    figure = new()
    for number, (name, values) in enumerate(rows.items()):
        x = np.asarray(values, np.float64)
        marker = {"symbol": "line-ns-open", "size": 22, "color": PALETTE[number % 8], "line": {"width": 1.5}} | look
        hover = "%{x:.6g}<extra></extra>"
        figure.add_scatter(x=x, y=[f"{name} "] * x.size, mode="markers", name=name, hovertemplate=hover, marker=marker)
    figure.update_xaxes(zeroline=True, zerolinecolor=INK)
    return figure.update_yaxes(autorange="reversed", tickfont={"size": 13})


def axes(figure: Any, across: str, up: str, **panel: int) -> Any:
    """The names of the axes, of all panels or of one."""
    figure.update_xaxes(title_text=across, **panel)
    return figure.update_yaxes(title_text=up, **panel)


def finish(
    figure: Any, title: str, made: Iterable[Provenance], *, height: int = 330, says: Sequence[str] = (),
    legend_px: int = 0, named: bool = False,
) -> Any:  # fmt: skip
    """The figure with its title above and, below, what it `says` and where its numbers come from; as wide as its cell.

    `height` is that of everything but the foot. `legend_px` is the room of a legend between plot and foot; 0: none.
    `named` writes the name of each curve behind its end.
    """
    names = (text_width(v, 13) for t in figure.data if t.y is not None for v in t.y if isinstance(v, str))
    left = max(names, default=50)
    wide = max(int((540 - left) / 6), 30)  # a foot stands below the plot, in a narrow cell too
    foot = [piece for line in [*says, *(one.line() for one in merged(made))] for piece in textwrap.wrap(line, wide)]
    top, room = 70 + 14 * any("<br>" in note.text for note in figure.layout.annotations), 60 + 15 * len(foot)
    right = 20 + (_name_curves(figure, height - top) if named else 0)
    figure.update_layout(
        template={"layout": _LOOK},
        title={"text": title, "x": 0, "xanchor": "left", "y": 1 - 26 / (height + room), "font": {"size": 16}},
        height=height + room + legend_px, autosize=True,
        margin={"l": 10, "r": right, "t": top, "b": room + legend_px},
        showlegend=legend_px > 0,
        legend={"orientation": "h", "x": 0, "y": -48 / (height - top), "yanchor": "top", "font": {"size": 12}},
    )  # fmt: skip
    return figure.add_annotation(
        text="<br>".join(foot), xref="paper", yref="paper", x=0, y=0, yshift=5 - room - legend_px, xanchor="left",
        yanchor="bottom", showarrow=False, font={"size": 11, "color": INK}, align="left",
    )  # fmt: skip


def _name_curves(figure: Any, height: float) -> int:
    """Names behind the ends of the curves that show in the last panel, apart by a line's height where they would
    meet; the room in pixels that they need at the right. `height` is that of the plot, of which a
    range takes 0.88."""
    shown = [t for t in figure.data if t.visible is None and t.name and "lines" in t.mode]
    axis = max((t.xaxis or "x") for t in shown)
    curves = [t for t in shown if (t.xaxis or "x") == axis]
    across, up = figure.layout[axis.replace("x", "xaxis")], figure.layout[axis.replace("x", "yaxis")]
    logs = [np.log10 if one.type == "log" else np.asarray for one in (across, up)]
    with np.errstate(divide="ignore", invalid="ignore"):
        points = [[log(np.asarray(v, float)) for log, v in zip(logs, (t.x, t.y), strict=True)] for t in curves]
    ends = [(t, x[ok][-1], y[ok][-1]) for t, (x, y) in zip(curves, points, strict=True) if (ok := np.isfinite(y)).any()]
    levels = np.concatenate([y[np.isfinite(y)] for _, y in points])
    low = 0.0 if up.rangemode == "tozero" else levels.min()
    to_px, furthest = 0.88 * height / max(levels.max() - low, 1e-9), max(x for _, x, _ in ends)
    free = -1e9
    for trace, x, y in sorted(ends, key=lambda end: end[2]):
        at = (y - low) * to_px
        free = max(free + 14, at)
        place = {"x": 1, "xref": "paper"} if x == furthest else {"x": x, "xref": axis}
        figure.add_annotation(
            text=trace.name, **place, y=y, yref=axis.replace("x", "y"), xanchor="left", xshift=5,
            yshift=free - at, showarrow=False, font={"size": 12, "color": trace.line.color},
        )  # fmt: skip
    return round(max(text_width(trace.name, 12) for trace, x, _ in ends if x == furthest))

"""teach/engines: the life of a glass-box engine: what is paid when, who waits for whom, its kernels, and the races in
which their tactics were chosen, with noise to play with.

In: lives of engines, live and recorded; kernels with their times; a `Race` of plan/tactics. Out: figures, tables, and
`NoiseView`, in which made-up tactics are raced by several rules. A shape of marker and a colour belong to each life.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trtlab.engine.measure import KernelTime, Provenance
from trtlab.lab.life import Life, Phase
from trtlab.lab.race import RULES, TRIALS, chances, samples
from trtlab.lab.workflow import WORKFLOW, StageRecord, Status
from trtlab.numeric.units import counted, seconds_text
from trtlab.plan import tactics
from trtlab.plan.tactics import Race
from trtlab.teach import svg
from trtlab.teach.card import Drawing, bold, card, chips, code, push, table, tag
from trtlab.teach.figure import INK, LOG, PALETTE, finish, new
from trtlab.teach.sliders import Slider, SliderView

LOOKS = (
    ("#009e73", "circle", "top center"),
    ("#2b8cc4", "diamond", "bottom center"),
    ("#d55e00", "square", "middle right"),
)
"""Colour, marker and place of the words of the first life, the second, the third."""
COLOURS = {Status.DONE: "#76b900", Status.STOOD_IN: "#d29922", Status.IMPOSSIBLE: "#8c959f"}
BUSY, FREE = "#d55e00", "rgba(0,158,115,.35)"
PEERS = (Phase.ORT, Phase.EAGER, Phase.CHANNELS_LAST)
PARTS = {
    "once": (Phase.BUILD, Phase.TUNE),
    "at every start": (Phase.START, Phase.LOAD, Phase.CONTEXT, Phase.FIRST),
    "for every request": (Phase.RUN, Phase.KERNELS, *PEERS),
}


# --- figures ----------------------------------------------------------------------------------------------------------


def draw_waterfall(records: Sequence[StageRecord]) -> Any:
    """Where the time of a workflow goes: one bar per timed stage, laid end to end, in milliseconds."""
    timed = [record for record in records if record.seconds is not None]
    lengths = [1e3 * (record.seconds or 0.0) for record in timed]
    figure = new().add_bar(
        y=[WORKFLOW[r.name].title for r in timed], x=lengths, base=[sum(lengths[:i]) for i in range(len(timed))],
        orientation="h", marker_color=[COLOURS[r.status] for r in timed], text=[seconds_text(r.seconds) for r in timed],
        textposition="outside", cliponaxis=False, hovertext=[f"{r.executor}<br>{r.status.value}" for r in timed],
    )  # fmt: skip
    figure.update_xaxes(title_text="milliseconds", range=[0, sum(lengths) * 1.12])
    figure.update_yaxes(autorange="reversed")
    says = ["amber: ONNX Runtime stood in"] * any(record.status is Status.STOOD_IN for record in timed)
    made = [record.provenance for record in timed]
    return finish(figure, "Where the time goes", made, height=75 + 30 * len(timed), says=says)


def draw_engine_life(*lives: Life) -> Any:
    """What is paid once, at every start and for every request: a row for each phase, seconds on a logarithmic axis."""
    _check_lives(lives)
    figure, phases = new(), [phase for part in PARTS.values() for phase in part]
    for (colour, symbol, place), life in zip(LOOKS, lives, strict=False):
        timed, made = [phase for phase in phases if phase in life.times], life.provenance
        name = f"{made.origin.value}: {life.network} in {life.precision}, {made.device}"
        figure.add_scatter(
            y=[phase.value for phase in timed], x=[float(f"{life.seconds(phase):.4g}") for phase in timed],
            mode="markers+text", marker={"size": 11, "color": colour, "symbol": symbol}, name=name,
            text=[seconds_text(life.seconds(phase)) for phase in timed], textposition=place,
            textfont={"size": 11, "color": colour}, hovertext=[str(life.times[phase]) for phase in timed],
        )  # fmt: skip
    rows = [phase.value for phase in phases if any(phase in life.times for life in lives)]
    least, marks = min(min(trace.x) for trace in figure.data), [10.0**k for k in range(-6, 3)]
    names = [*map(seconds_text, marks)]
    figure.update_xaxes(type="log", range=[math.log10(least / 20), 1.5], tickvals=marks, ticktext=names)
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1])
    _mark_parts(figure, rows)
    title = "Paid once, at every start, for every request"
    return _finished(figure, lives, title, height=130 + 44 * len(rows), legend_px=60)


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
    _check_lives(lives)
    titles = [f"{life.provenance.origin.value}:<br>{life.provenance.device}" for life in lives]
    figure = new(len(lives), titles=titles, shared_yaxes=True)
    for column, life in enumerate(lives, 1):
        _add_requests(figure, life, {"row": 1, "col": column}, is_first=column == 1)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_xaxes(title={"text": "milliseconds", "font": {"size": 12}}, rangemode="tozero")
    figure.update_yaxes(range=[1.4, -0.6], showgrid=False)
    return _finished(figure, lives, "One request: who waits, and how long", height=290, legend_px=40)


def _add_requests(figure: Any, life: Life, place: dict[str, int], *, is_first: bool) -> None:
    """Two bars, `run` above `enqueue`: how long the host is held, how long it is free, when results are there."""
    run, called, done = (1e3 * life.seconds(phase) for phase in (Phase.RUN, Phase.CALL, Phase.DONE))
    same: dict[str, Any] = {"y": ["run", "enqueue,<br>synchronise"], "showlegend": is_first} | place
    bar = {"orientation": "h", "width": 0.4, "marker_line_width": 0} | same
    free = {"color": FREE, "pattern": {"shape": "/", "fgcolor": INK}}
    figure.add_bar(x=[run, called], name="the host is held", marker_color=BUSY, **bar)
    figure.add_bar(x=[0, done - called], name="the host is free", marker=free, **bar)
    mark = {"size": 12, "symbol": "diamond", "color": INK}
    figure.add_scatter(x=[run, done], mode="markers", name="results are there", marker=mark, **same)
    words = (
        f"back with results<br>after {seconds_text(run / 1e3)}",
        f"back after {seconds_text(called / 1e3)},<br>results after {seconds_text(done / 1e3)}",
    )
    for number, text in enumerate(words):
        note: dict[str, Any] = {"x": 0, "y": number - 0.22, "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=text, showarrow=False, font={"size": 12}, **note, **place)


def _check_lives(lives: Sequence[Life]) -> None:
    if not 1 <= len(lives) <= len(LOOKS):
        raise ValueError(f"cannot draw {len(lives)} lives: expected 1 to {len(LOOKS)} from trtlab.lab.life")


def _finished(figure: Any, lives: Sequence[Life], title: str, **room: Any) -> Any:
    starts = " and ".join(dict.fromkeys(str(len(life.times[Phase.LOAD].samples_s)) for life in lives))
    says = [f"each built and started {starts} times, in fresh processes"]
    return finish(figure, title, [life.provenance for life in lives], says=says, **room)


# --- tables -----------------------------------------------------------------------------------------------------------


def draw_kernels(kernels: Sequence[KernelTime], provenance: Provenance) -> Drawing:
    """Every kernel of an engine with the ONNX nodes merged into it, its tactic, what it writes, and its time."""
    header = ("#", "kernel", "ONNX nodes merged into it", "tactic", "writes", "time", "share")
    whole = sum(kernel.time_us for kernel in kernels)
    rows = [
        (number, k.name, chips(k.onnx_nodes), tag("span", k.tactic, "mono one"), code("; ".join(k.outputs)),
         seconds_text(k.time_us / 1e6),
         tag("span", f"{k.time_us / whole:.0%}", "bar", style=f"--share:{k.time_us / whole:.3f}"))
        for number, k in enumerate(kernels)
    ]  # fmt: skip
    said = push(f"{counted(len(kernels), 'kernel')}, {seconds_text(whole / 1e6)} together")
    return card(table(header, rows), head=[bold("The glass box's engine"), said], made=[provenance])


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
    made = [p for life in lives for p in (life.provenance, life.times[Phase.BUILD].provenance)]
    return card(table(header, rows), made=made)


# --- races ------------------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT = 1000, 220, 960


def draw_race(race: Race, title: str, made: Sequence[Provenance] = ()) -> Any:
    """A row for each candidate, preferred ones first: a mark for each sample, a diamond at the best one, its state."""
    figure, rows = new(), [c for c in race.candidates if c.samples_s]
    for number, one in enumerate(rows):
        won = one.name == race.winner
        colour = PALETTE[2] if won else PALETTE[number % 8] if one.state == tactics.WITHIN else INK
        name, micro = f"{one.name} ", [1e6 * s for s in one.samples_s]
        look = {"symbol": "line-ns-open", "size": 20, "color": colour, "line": {"width": 1.6}}
        figure.add_scatter(x=micro, y=[name] * len(micro), mode="markers", marker=look, hovertemplate="%{x:.4g} µs")
        best, words = {"symbol": "diamond", "size": 10, "color": colour}, f"{one.best_s * 1e6:,.4g} µs · {one.state}"
        figure.add_scatter(x=[one.best_s * 1e6], y=[name], mode="markers", marker=best, hoverinfo="skip")
        figure.add_annotation(
            text=f"<b>{words}</b>" if won else words, x=math.log10(one.best_s * 1e6), y=name, yshift=23, xanchor="left",
            xshift=-5, showarrow=False, font={"color": colour},
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont={"size": 13})
    figure.update_xaxes(title_text="microseconds, logarithmic", **LOG)
    never = [f"{c.name}: {c.state}" for c in race.candidates if not c.samples_s]
    return finish(figure, title, made, height=110 + 56 * max(1, len(rows)), says=never)


# --- noise ------------------------------------------------------------------------------------------------------------


class NoiseView(SliderView):
    """Two made-up tactics and four sliders: how often does each rule take the faster one, and how often does the choice
    change from build to build? `chances` has the numbers of the last setting."""

    ABOUT = "Noise and winners"
    SLIDERS: Mapping[str, Slider] = {
        "gap": ("the second one is faster by, ‰", 0, 200, 30), "noise": ("spread of a sample, ‰", 0, 200, 40),
        "spikes": ("samples hit by a spike, %", 0, 50, 10), "rounds": ("rounds", 1, 40, 10),
    }  # fmt: skip

    @property
    def chances(self) -> Mapping[str, float]:
        return chances(**self.setting)

    def picture(self) -> str:
        a, b = samples(**self.setting, seed=0)
        low, high = min(*a, *b), max(*a, *b)
        scale = (RIGHT - LEFT) / max(1e-9, high - low)
        parts = [svg.ink("one race", (8, 20), weight=600)]
        for number, (name, row) in enumerate({"preferred, 100 µs": a, "the other": b}.items()):
            y, paint = 34 + 34 * number, {"stroke": PALETTE[number], "stroke_width": "2", "opacity": "0.7"}
            parts.append(svg.ink(name, (8, y + 16)))
            places = [LEFT + (value - low) * scale for value in row]
            parts += [svg.tag("line", x1=x, x2=x, y1=y, y2=y + 22, **paint) for x in places]
        parts += [svg.grid((LEFT, 98), (RIGHT, 98)), svg.dim(f"{low:.1f} µs", (LEFT, 116))]
        parts.append(svg.dim(f"{high:.1f} µs", (RIGHT, 116), "end"))
        parts.append(svg.ink(f"how often each rule takes the other one, in {TRIALS} such races", (8, 148), weight=600))
        for number, (name, share) in enumerate(self.chances.items()):
            y, width = 160 + 32 * number, (RIGHT - LEFT - 60) * share
            bar = svg.tag("rect", x=LEFT, y=y, width=max(1.0, width), height=20, rx=3, fill=PALETTE[1])
            label = svg.ink(f"{share:.0%}", (LEFT + width + 8, y + 15), weight=600)
            parts += [svg.ink(name, (8, y + 15)), bar, label]
        return svg.whole("Samples of two tactics", WIDTH, 152 + 34 * len(RULES), *parts)

    def facts(self) -> list[tuple[str, str, str]]:
        gap, rounds, shares = self.setting["gap"], self.setting["rounds"], self.chances
        is_ahead = gap >= 1000 * tactics.LEAST_AHEAD
        right = {name: share if is_ahead else 1 - share for name, share in shares.items()}
        repeats = {name: share**2 + (1 - share) ** 2 for name, share in shares.items()}
        best, steady = (max(found, key=lambda name: found[name]) for found in (right, repeats))
        wanted = "the other one" if is_ahead else f"under {tactics.LEAST_AHEAD:.0%} is no lead"
        return [
            ("truly", f"{gap / 10:g}% faster" if gap else "equally fast", wanted),
            ("right most often", best, f"{right[best]:.0%} of the races"),
            ("two builds agree", f"{repeats[steady]:.0%}", steady),
            ("samples", counted(2 * rounds, "sample"), f"{rounds} of each"),
        ]

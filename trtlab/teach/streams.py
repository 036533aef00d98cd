"""teach/streams: timelines of streams, what was predicted beside what was measured, latency against throughput.

In: `Operation`s, recorded `Case`s and `Serving`s. Out: drawings, and `StreamView`, whose sliders make operations that
plan/streams runs. Every timeline is drawn in one way: a row for each stream, and below them how full the GPU is.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trtlab.lab.streams import Alone, Case, StreamRuns, pipeline
from trtlab.numeric.units import bytes_text, counted, seconds_text
from trtlab.plan.streams import COMPUTE, COPY_IN, COPY_OUT, Operation, Timeline, limits, on_one_stream, run
from trtlab.teach import svg
from trtlab.teach.card import Drawing, SvgDrawing
from trtlab.teach.figure import LOG, axes, finish, line, new
from trtlab.teach.sliders import Slider, SliderView, pictured
from trtlab.teach.tables import draw_rows

COLOURS = {COPY_IN: "#0072b2", COMPUTE: "#009e73", COPY_OUT: "#cc79a7"}
WIDTH, LEFT, ROW, FULL = 1000, 112, 26, 48


# --- one timeline -----------------------------------------------------------------------------------------------------


def draw_timeline(what: Case | Sequence[Operation], title: str = "") -> SvgDrawing:
    """When each operation ran, as predicted; for a recorded case also how long it took."""
    operations = what.operations if isinstance(what, Case) else tuple(what)
    shown, timeline = title or (_said(what) if isinstance(what, Case) else "Predicted"), run(operations)
    picture, found = timeline_svg(operations, timeline, shown), summary(operations, timeline)
    if isinstance(what, Case):
        low, high = min(what.samples_s), max(what.samples_s)
        spread = f"{counted(len(what.samples_s), 'run')}, {seconds_text(low)} to {seconds_text(high)}"
        found += [("measured", seconds_text(what.median_s), spread), ("prediction off by", f"{what.error:+.1%}", "")]
    return pictured(picture, shown, found, says="predicted by a model")


def summary(operations: Sequence[Operation], timeline: Timeline) -> list[tuple[str, str, str]]:
    """Label, value and note: the total, the same work on one stream, the gain, and what keeps it from being more."""
    serial, bounds = run(on_one_stream(operations)).total_s, limits(operations)
    name = max(bounds, key=lambda key: bounds[key])
    gain = serial / timeline.total_s if timeline.total_s else 1.0
    return [
        ("total", seconds_text(timeline.total_s), counted(len({one.stream for one in operations}), "stream")),
        ("on one stream", seconds_text(serial), f"{gain:.2f} times as long"),
        ("the limit", name, f"nothing gets under {seconds_text(bounds[name])}"),
    ]


def timeline_svg(operations: Sequence[Operation], timeline: Timeline, about: str) -> str:
    """The picture. Colours stand in attributes; what an operation is, in its tooltip."""
    streams = [*dict.fromkeys(one.stream for one in operations)]
    scale = (WIDTH - LEFT - 24) / max(timeline.total_s, 1e-12)
    bottom = 34 + ROW * len(streams)
    parts = [svg.key(engine, colour, LEFT + 110 * number) for number, (engine, colour) in enumerate(COLOURS.items())]
    for number, stream in enumerate(streams):
        y = 34 + ROW * number
        parts.append(svg.ink(f"stream {stream}", (8, y + 17)))
        parts.append(svg.grid((LEFT, y + ROW - 1), (WIDTH - 24, y + ROW - 1)))
    for one in operations:
        span, y = timeline.spans[one.name], 34 + ROW * streams.index(one.stream)
        parts.append(_bar(one, LEFT + span.start_s * scale, (span.stop_s - span.start_s) * scale, y))
    parts += _fullness(operations, timeline, scale, bottom + 8)
    for moment in _marks(timeline.total_s):
        at = LEFT + moment * scale
        words, place = seconds_text(moment) if moment else "0", "end" if at > WIDTH - 60 else "middle"
        parts.append(svg.dim(words, (at, bottom + FULL + 28), place))
    return svg.whole(f"Timeline: {about}", WIDTH, bottom + FULL + 36, *parts)


def _marks(total_s: float) -> list[float]:
    """Four to nine moments from 0 to near the end, at round times."""
    power = 10.0 ** math.floor(math.log10(max(total_s, 1e-12)))
    step = next(part for part in (power / 5, power / 2, power, 2 * power) if total_s / part < 8)
    return [round(number * step, 15) for number in range(int(total_s / step + 1e-9) + 1)]


def _bar(one: Operation, x: float, width: float, y: float) -> str:
    said = svg.title(f"{one.name}: {seconds_text(one.duration_s)} alone, fills {one.share:.0%}")
    name = one.name.split(" ")
    word = next((w for w in (one.name, " ".join(name[:2])) if svg.text_width(w, 14.6) < width - 6), "")
    box = svg.tag("rect", said, x=x, y=y + 3, width=max(width, 0.8), height=ROW - 8, rx=2, fill=COLOURS[one.engine],
                  stroke="#ffffff", stroke_width=min(1.0, width / 6))  # fmt: skip
    return box + (svg.text("tl-on", word, (x + 4, y + 16), 13, "#ffffff", 600) if word else "")


def _fullness(operations: Sequence[Operation], timeline: Timeline, scale: float, top: float) -> list[str]:
    """How much of the GPU kernels fill, over time."""
    pieces = [p for one in operations if one.engine == COMPUTE for p in timeline.spans[one.name].pieces]
    changes = sorted([(start, share) for start, _, share in pieces] + [(stop, -share) for _, stop, share in pieces])
    path, level = [f"M{LEFT} {top + FULL - 8}"], 0.0
    for moment, change in changes:
        level += change
        path.append(f"H{LEFT + moment * scale:.2f}V{top + (1 - level) * (FULL - 8):.2f}")
    area = svg.tag("path", d="".join([*path, f"H{LEFT + timeline.total_s * scale:.2f}V{top + FULL - 8}Z"]),
                   fill=COLOURS[COMPUTE], opacity="0.45")  # fmt: skip
    edge = svg.tag("line", x1=LEFT, x2=WIDTH - 24, y1=top, y2=top, stroke=svg.LINE, stroke_dasharray="3 3")
    return [area, edge, svg.ink("GPU filled", (8, top + 24))]


# --- what was recorded ------------------------------------------------------------------------------------------------


def draw_cases(recorded: StreamRuns, topic: str = "") -> Drawing:
    """Scenarios of a topic, or all: predicted, measured, the error, and what the limit was."""
    cases = [case for case in recorded.cases if topic in ("", case.topic)]
    rows = [
        (_said(one), seconds_text(one.timeline.total_s), seconds_text(one.median_s), f"{one.error:+.1%}", one.limit)
        for one in cases
    ]
    header = ("scenario, on so many streams", "predicted", "measured", "error", "the limit")
    return draw_rows(header, rows, "Predicted from kernels and copies timed alone", [recorded.provenance])


def _said(case: Case) -> str:
    """Its name, with numbers as they stand elsewhere: `4 branches of products 4,096 on 4`."""
    return re.sub(r"\d{4,}", lambda number: f"{int(number[0]):,}", case.name)


def draw_serving(recorded: StreamRuns) -> Any:
    """Latency against throughput: larger batches in one context, and more contexts of one sample each."""
    figure = new()
    ways = {
        "one context, batch 1 to 64": [s for s in recorded.servings if s.contexts == 1],
        "batch 1, 1 to 8 contexts": [s for s in recorded.servings if s.batch == 1],
        "batch 32, 1 to 8 contexts": [s for s in recorded.servings if s.batch == 32],
    }
    for number, (name, found) in enumerate(ways.items()):
        words = [str(s.batch) if name.startswith("one") else f"×{s.contexts}" * (s.contexts > 1) for s in found]
        figure.add_scatter(
            x=[s.samples_per_s for s in found], y=[s.percentile(0.5) * 1e6 for s in found], name=name, text=words,
            mode="lines+markers+text", line=line(number), textposition="top left",
            hovertext=[f"99% under {seconds_text(s.percentile(0.99))}; {bytes_text(s.memory_bytes)}" for s in found],
        )  # fmt: skip
    axes(figure, "samples a second", "latency of a request, µs (median)")
    figure.update_yaxes(**LOG)
    figure.update_xaxes(rangemode="tozero", tickformat=",")
    title = f"{recorded.network}: batching against streams"
    return finish(figure, title, [recorded.provenance], height=430, named=True)


# --- the widget -------------------------------------------------------------------------------------------------------


class StreamView(SliderView):
    """A timeline that follows sliders; `StreamView(streams=4, share=25)`. Each request copies in, computes, copies out.
    `setting` has the values, `set` changes them. ValueError for what a slider cannot say, TypeError for unknown names.
    """

    ABOUT = "Streams"
    SLIDERS: Mapping[str, Slider] = {
        "requests": ("requests", 1, 16, 6), "streams": ("streams", 1, 8, 1),
        "kernel_us": ("a kernel takes, µs", 5, 500, 100), "share": ("of the GPU it fills, %", 2, 100, 100),
        "copies": ("a copy takes, % of a kernel", 0, 200, 60), "launch_us": ("the host issues one in, µs", 0, 50, 5),
    }  # fmt: skip

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What is issued."""
        s = self.setting
        kernel = Alone(name="kernel", duration_s=s["kernel_us"] / 1e6, share=s["share"] / 100)
        copy_s, issue_s = kernel.duration_s * s["copies"] / 100, s["launch_us"] / 1e6
        return pipeline(copy_s, kernel, copy_s, chunks=s["requests"], streams=s["streams"], issue_s=issue_s)

    def picture(self) -> str:
        return timeline_svg(self.operations, run(self.operations), "predicted")

    def facts(self) -> list[tuple[str, str, str]]:
        return summary(self.operations, run(self.operations))

    def static(self) -> SvgDrawing:
        return draw_timeline(self.operations, "Streams, as predicted")

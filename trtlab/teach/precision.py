"""teach/precision: where to clip, and what a format buys.

In: a `Histogram` of numeric/calibrate and, for the widget, a function that tells how many samples are right at a
threshold; lab/precision's rows; lab/gemm's arithmetic and its recording of one GPU. Out: drawings; `ClipView`, a
histogram under a threshold that can be dragged; `RooflineView`, bytes against operations of one product on three GPUs.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.engine.recordings import RecordingMissing
from trtlab.lab import gemm
from trtlab.lab.precision import Row
from trtlab.numeric.calibrate import CALIBRATORS, Histogram, candidate, entropy
from trtlab.numeric.units import bytes_text, counted, raised, seconds_text
from trtlab.teach import svg
from trtlab.teach.card import Drawing
from trtlab.teach.figure import PALETTE, axes, finish, lines, new
from trtlab.teach.sliders import Slider, SliderView
from trtlab.teach.tables import draw_rows

Array = npt.NDArray[Any]
Right = Callable[[float], tuple[int, int]]
"""A threshold -> how many samples are right, of how many."""
WIDTH, LEFT, RIGHT, TOP, HIGH, LOW = 1000, 88, 976, 46, 200, 110
COLUMNS, LEVELS, CLIP = 226, 127, "#d55e00"
CURVES = {"entropy": ("divergence", "#d55e00"), "mse": ("squared error", "#009e73")}


def errors(h: Histogram, threshold: float) -> tuple[float, float]:
    """Mean squared error of INT8 by rounding, of what lies within, and by clipping, of what lies beyond: each bin is
    taken at its centre."""
    centres, step = (np.arange(h.counts.size) + 0.5) * h.width, threshold / LEVELS
    inside = centres <= threshold
    rounding = np.square(np.rint(centres / step) * step - centres) * h.counts
    clipping = np.square(centres - threshold) * h.counts
    total = max(1, h.count)
    return float(rounding[inside].sum() / total), float(clipping[~inside].sum() / total)


class ClipView(SliderView):
    """Drag the threshold over the histogram, or let a calibrator choose; below, what each loss says of every threshold.

    `threshold` is where it stands, in units of the values. ValueError for a histogram without values.
    """

    ABOUT = "Where to clip"

    def __init__(self, histogram: Histogram, right: Right | None = None) -> None:
        if not isinstance(histogram, Histogram) or not histogram.amax:
            raise ValueError(f"{histogram!r} is no Histogram with a value above 0: expected Histogram.of(activations)")
        self.h, self.last = histogram, min(histogram.counts.size, math.ceil(histogram.amax / histogram.width))
        self.chosen, self._right = {name: find(histogram) for name, find in CALIBRATORS.items()}, right
        self._ground = "".join([*self._bars(), *self._curves(), *self._marks()])  # what does not move
        self.SLIDERS = {"bins": ("bins that are kept", 1, self.last, self.last)}
        self.BUTTONS = {name: {"bins": min(self.last, max(1, t.bin))} for name, t in self.chosen.items()}
        self.HAND = {"name": "bins", "from": self.x(histogram.width), "to": RIGHT}
        super().__init__()

    @property
    def threshold(self) -> float:
        return self.setting["bins"] * self.h.width

    def x(self, value: Any) -> Any:
        return LEFT + (RIGHT - LEFT) * value / (self.last * self.h.width)

    def picture(self) -> str:
        threshold = self.threshold
        at = self.x(threshold)
        beyond = svg.tag("rect", x=at, y=TOP, width=max(0.0, RIGHT - at), height=HIGH, fill=CLIP, opacity="0.13")
        stem = svg.tag("line", x1=at, x2=at, y1=TOP - 8, y2=TOP + HIGH + LOW + 40, stroke=CLIP, stroke_width="2.5")
        grip = svg.tag("circle", cx=at, cy=TOP - 8, r=8, fill=CLIP, stroke="#ffffff", stroke_width="2")
        words = f"clip at {threshold:.4g}, one step is {threshold / LEVELS:.3g}"
        anchor, dx = ("end", -14) if at > (LEFT + RIGHT) / 2 else ("start", 14)
        said = svg.text("tl-ink", words, (at + dx, TOP - 14), 14, svg.INK, 600, text_anchor=anchor)
        height = TOP + HIGH + LOW + 66
        return svg.whole(f"Histogram, {words}", WIDTH, height, self._ground, beyond, stem, grip, said)

    def _bars(self) -> list[str]:
        """Counts of neighbouring bins together, on a logarithmic scale, over the axis of magnitudes."""
        cuts, bottom = np.linspace(0, self.last, COLUMNS + 1).round().astype(int), TOP + HIGH
        counts = np.diff(np.concatenate([[0], np.cumsum(self.h.counts)])[cuts])
        most = math.log10(max(10, counts.max()))

        def height(count: float) -> float:
            return HIGH * (math.log10(count) + 0.25) / (most + 0.25)

        ends = zip(self.x(cuts[:-1] * self.h.width), self.x(cuts[1:] * self.h.width), counts, strict=True)
        path = "".join(f"M{a:.1f} {bottom}v{-height(n):.1f}H{b:.1f}V{bottom}Z" for a, b, n in ends if n)
        powers = [(10**p, (LEFT - 8, bottom - height(10**p) + 4)) for p in range(int(most) + 1)]
        marks = [self.last * self.h.width * part / 4 for part in range(5)]
        return [
            svg.tag("path", d=path, fill="#0072b2", opacity="0.8"), svg.dim("values", (8, TOP - 14), size=12),
            *(svg.dim(f"{power:,}", at, "end", 12) for power, at in powers),
            svg.tag("line", x1=LEFT, x2=RIGHT, y1=bottom, y2=bottom, stroke=svg.LINE),
            *(svg.dim(f"{mark:.3g}", (self.x(mark), bottom + 15), "middle", 12) for mark in marks),
        ]  # fmt: skip

    def _curves(self) -> list[str]:
        """Divergence and squared error of every threshold, each on a scale of its own, logarithmic."""
        base, parts = TOP + HIGH + 40, list[str]()
        for number, (name, (words, colour)) in enumerate(CURVES.items()):
            t = self.chosen[name]
            shown = (t.candidates <= self.last) & np.isfinite(t.losses) & (t.losses > 0)
            logs, every = np.log10(t.losses[shown]), max(1, int(shown.sum()) // 400)
            high = logs.max(initial=-400.0)  # below every logarithm
            ys = base + LOW * (high - logs) / max(high - logs.min(initial=high), 0.1)
            pairs = zip(self.x(t.candidates[shown] * self.h.width)[::every], ys[::every], strict=True)
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
            if points:
                parts.append(svg.tag("polyline", points=points, fill="none", stroke=colour, stroke_width="2"))
                parts.append(svg.text("", f"— {words}", (LEFT + 180 * number, base - 8), 12, colour, 600))
        return parts

    def _marks(self) -> list[str]:
        """Where each calibrator clips, with its name; names near each other stand one below the other."""
        parts = list[str]()
        for number, (name, t) in enumerate(sorted(self.chosen.items(), key=lambda row: row[1].value)):
            x, y = self.x(t.value), TOP + 16 + 18 * number
            parts.append(svg.tag("line", x1=x, x2=x, y1=TOP, y2=TOP + HIGH, stroke=svg.DIM, stroke_dasharray="3 4"))
            parts.append(svg.text("tl-ink", name, (x - 5, y), 12, svg.INK, 600, svg.PAPER, text_anchor="end"))
        return parts

    def facts(self) -> list[tuple[str, str, str]]:
        bins, (rounding, clipping) = self.setting["bins"], errors(self.h, self.threshold)
        beyond = int(self.h.counts[bins:].sum())
        found = [
            ("clipped", f"{beyond / max(1, self.h.count):.3%}", f"{beyond:,} of {self.h.count:,} values"),
            ("clipping error", f"{math.sqrt(clipping):.3g}", "root of the mean square"),
            ("rounding error", f"{math.sqrt(rounding):.3g}", "root of the mean square"),
            ("divergence", f"{candidate(self.h, bins).divergence:.3g}".replace("inf", "∞"), "KL(P‖Q), in nats"),
        ]
        if self._right is not None:
            good, of = self._right(self.threshold)
            found.insert(0, ("accuracy", f"{good / of:.1%}", f"{good} of {of} test images"))
        return found


def draw_candidate(h: Histogram, bins: int) -> Any:
    """P and Q of one candidate of the entropy calibrator, and the divergence of all candidates beside them."""
    chosen, one, edges = entropy(h), candidate(h, bins), h.edges[:bins] + h.width / 2
    titles = f"P and Q with {bins} bins kept: {one.divergence:.4f} nats", "divergence of every candidate"
    figure = new(2, titles=titles)
    shown = {"P, clipped": one.p, "Q, in 128 levels": one.q}
    stairs = {name: (edges, np.where(values > 0, values, np.nan)) for name, values in shown.items()}
    lines(figure, stairs, line_shape="hvh", line_width=1.5, line_dash="solid")
    lines(figure, {"divergence": (chosen.candidates * h.width, chosen.losses)}, column=2, line_color=PALETTE[2])
    figure.add_scatter(
        x=[bins * h.width, chosen.value], y=[one.divergence, float(chosen.losses.min())], mode="markers+text",
        text=["shown left", "least"], textposition=["top right", "bottom right"], showlegend=False,
        marker={"size": 9, "color": PALETTE[0]}, row=1, col=2,
    )  # fmt: skip
    tens = range(-9, 1)  # in figures as large as those of the other axes, which "power" would not do
    axes(figure, "magnitude", "nats").update_yaxes(
        type="log", tickvals=[10.0**ten for ten in tens], ticktext=[f"10{raised(ten)}" for ten in tens],
        title_text="share of the values", col=1,
    )  # fmt: skip
    return finish(figure, "What the entropy calibrator compares", [live(["numpy"])], height=340, legend_px=24)


def draw_accuracies(rows: Sequence[Row], title: str) -> Drawing:
    """How a network answers in some formats, with the interval of each share and the bytes of its weights."""
    found = [
        (one.name, f"{one.accuracy:.1%}", "{:.1%} to {:.1%}".format(*one.interval), f"{one.same} of {one.total}",
         bytes_text(one.weights_bytes))
        for one in rows
    ]  # fmt: skip
    header = ("format", "right", "95 times of 100 between", "same answer as before", "weights")
    return draw_rows(header, found, title, [live(["onnxruntime", "torch"], samples=1)])


def draw_accuracy_chart(networks: Mapping[str, Sequence[Row]]) -> Any:
    """Every format of several networks: the share that is right, with its interval."""
    figure = new()
    for number, (name, rows) in enumerate(networks.items()):
        low, high = zip(*(one.interval for one in rows), strict=True)
        shares = [one.accuracy for one in rows]
        bars = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 0,
                "array": np.subtract(high, shares), "arrayminus": np.subtract(shares, low)}  # fmt: skip
        figure.add_scatter(
            x=shares, y=[f"{one.name} " for one in rows], name=name, mode="markers", error_x=bars,
            marker={"size": 10, "symbol": ("circle", "diamond", "square")[number % 3], "color": PALETTE[number]},
            hovertemplate="%{y}: %{x:.1%}",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont={"size": 12})
    figure.update_xaxes(title_text="right, of 450 scans that no training saw", tickformat=".0%", range=[0, 1.02])
    height = 130 + 21 * max(len(rows) for rows in networks.values())
    made = [live(["onnxruntime", "torch"], samples=1)]
    return finish(figure, "Three networks, every format", made, height=height, legend_px=24)


# --- the roofline -----------------------------------------------------------------------------------------------------

FROM, TO, ROW = 100, 800, 46
KEY = (("bytes over bandwidth", "#0072b2"), ("operations over rate", "#d55e00"))


class RooflineView(SliderView):
    """The least time of y [m, n] = x [m, k] w [k, n] in every format that a GPU multiplies; n = k."""

    ABOUT, POWERS = "What a format buys", ("rows", "size")
    SLIDERS: Mapping[str, Slider] = {
        "rows": ("rows at once (batch × tokens)", 0, 13, 0), "size": ("columns and terms", 8, 14, 12),
        "gpu": ("", 0, len(gemm.GPUS) - 1, 1),
    }  # fmt: skip
    BUTTONS: Mapping[str, Mapping[str, int]] = {name: {"gpu": n} for n, name in enumerate(gemm.GPUS)}

    @property
    def times(self) -> list[gemm.GemmTime]:
        """One for each format that the chosen GPU multiplies."""
        rows, size, gpu = 2 ** self.setting["rows"], 2 ** self.setting["size"], [*gemm.GPUS][self.setting["gpu"]]
        formats = (name for name, how in gemm.FORMATS.items() if how[-1] in gemm.GPUS[gpu])
        return [gemm.gemm_time(rows, size, size, name, gpu) for name in formats]

    def picture(self) -> str:
        times, measured = self.times, self._measured()
        low = math.floor(math.log10(min(min(t.memory_s, t.compute_s) for t in times)))
        high = max(low + 1, math.ceil(math.log10(max(t.seconds for t in times))))
        bottom = 40 + ROW * len(times)

        def x(seconds: float) -> float:
            return FROM + (math.log10(seconds) - low) * (TO - FROM) / (high - low)

        parts = [svg.key(words, colour, FROM + 250 * number) for number, (words, colour) in enumerate(KEY)]
        parts += [svg.ink("◆ measured", (FROM + 500, 19))] * bool(measured)
        for seconds in (10.0**power for power in range(low, high + 1)):
            parts.append(svg.grid((x(seconds), 30), (x(seconds), bottom)))
            parts.append(svg.dim(seconds_text(seconds), (x(seconds), bottom + 16), "middle", 12))
        for number, one in enumerate(times):
            parts += _row(one, 36 + ROW * number, x, measured.get(one.format))
        return svg.whole("Least time of a product, by format", WIDTH, bottom + 26, *parts)

    def _measured(self) -> dict[str, float]:
        """What such products took on the GPU, by format, where it was measured."""
        rows, size, found = 2 ** self.setting["rows"], 2 ** self.setting["size"], dict[str, float]()
        for one in self.times:
            with contextlib.suppress(RecordingMissing, KeyError):
                run = gemm.load(one.gpu.lower()).run(one.format, rows, size)
                found |= {one.format: run.median_s} if run.n == size else {}
        return found

    def facts(self) -> list[tuple[str, str, str]]:
        times = {one.format: one for one in self.times}
        best, half, weights = min(times.values(), key=lambda t: t.seconds), times["FP16"], times["W4A16"]
        gpu = gemm.GPUS[half.gpu]
        intensity = f"{counted(round(half.intensity), 'operation')} a byte; balance {gpu['FP16'] / gpu['memory']:.0f}"
        return [
            ("product", f"{2 ** self.setting['rows']:,} × {2 ** self.setting['size']:,}²", f"on {half.gpu}"),
            ("FP16", seconds_text(half.seconds), intensity),
            ("least", best.format, f"{half.seconds / best.seconds:.2f} times as fast as FP16"),
            ("INT4 weights", seconds_text(weights.seconds), f"{half.seconds / weights.seconds:.2f} times"),
        ]


def _row(one: gemm.GemmTime, y: float, x: Callable[[float], float], measured: float | None) -> list[str]:
    """One format: both of its bars, the one that limits it solid; its least time in words; what was measured."""
    parts = [svg.text("tl-ink", one.format, (8, y + 22), 14, svg.INK, 600)]
    for seconds, (_, colour), top in zip((one.memory_s, one.compute_s), KEY, (y + 2, y + 19), strict=True):
        faint = "1" if seconds == one.seconds else "0.35"
        wide = max(1.0, x(seconds) - FROM)
        parts.append(svg.tag("rect", x=FROM, y=top, width=wide, height=14, rx=2, fill=colour, opacity=faint))
    parts.append(svg.text("tl-ink", f"{seconds_text(one.seconds)}, {one.limit}", (TO + 10, y + 22), 13, svg.INK))
    if measured is not None:
        place, said = f"M{min(x(measured), TO):.1f} {y + 17}l7 -7l7 7l-7 7Z", f"measured: {seconds_text(measured)}"
        parts.append(svg.tag("path", svg.title(said), class_="tl-ink", fill=svg.INK, d=place))
    return parts

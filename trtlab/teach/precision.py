"""teach/precision: where to clip, and what a format buys.

In: a `Histogram` of numeric/calibrate and, for the widget, a function that tells how many samples are right at a
threshold; lab/precision's rows; lab/gemm's arithmetic and its recording of one GPU. Out: drawings; `ClipView`, a
histogram under a threshold that can be dragged; `RooflineView`, bytes against operations of one product on three GPUs.
"""

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
from trtlab.numeric.units import bytes_text, seconds_text
from trtlab.teach import svg
from trtlab.teach.card import Drawing, bold, card, table
from trtlab.teach.figure import PALETTE, axes, finish, new
from trtlab.teach.sliders import SliderView

Array = npt.NDArray[Any]
Right = Callable[[float], tuple[int, int]]
"""A threshold -> how many samples are right, of how many."""
WIDTH, LEFT, RIGHT, TOP, HIGH, LOW = 1000, 74, 976, 46, 200, 110
COLUMNS, LEVELS = 226, 127
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
        if not histogram.amax:
            raise ValueError(
                f"{histogram!r} has no value above 0: expected activations to clip; run some batches first"
            )
        self.h, self.last = histogram, min(histogram.counts.size, math.ceil(histogram.amax / histogram.width))
        self.chosen = {name: find(histogram) for name, find in CALIBRATORS.items()}
        self._right, self._known = right, dict[int, list[tuple[str, str, str]]]()
        self._ground = "".join([*self._bars(), *self._curves(), *self._marks(), *self._axis()])  # what does not move
        buttons = {name: {"bins": min(self.last, max(1, t.bin))} for name, t in self.chosen.items()}
        slider = {"bins": ("bins that are kept", 1, self.last, self.last)}
        super().__init__(slider, {}, buttons=buttons, hand=("bins", self.x(histogram.width), RIGHT))

    @property
    def threshold(self) -> float:
        return self.setting["bins"] * self.h.width

    def x(self, value: float) -> float:
        return LEFT + (RIGHT - LEFT) * value / (self.last * self.h.width)

    def picture(self) -> str:
        threshold = self.threshold
        at = self.x(threshold)
        beyond = svg.tag("rect", x=at, y=TOP, width=max(0.0, RIGHT - at), height=HIGH, fill="#d55e00", opacity="0.13")
        stem = svg.tag("line", x1=at, x2=at, y1=TOP - 8, y2=TOP + HIGH + LOW + 40, stroke="#d55e00", stroke_width="2.5")
        grip = svg.tag("circle", cx=at, cy=TOP - 8, r=8, fill="#d55e00", stroke="#ffffff", stroke_width="2")
        place = "end" if at > (LEFT + RIGHT) / 2 else "start"
        words = f"clip at {threshold:.4g}, one step is {threshold / LEVELS:.3g}"
        dx = -14 if place == "end" else 14
        said = svg.text("tl-ink", words, (at + dx, TOP - 14), 14, svg.INK, 600, text_anchor=place)
        height = TOP + HIGH + LOW + 66
        return svg.whole(f"Histogram, {words}", WIDTH, height, self._ground, beyond, stem, grip, said)

    def _bars(self) -> list[str]:
        """Counts of neighbouring bins together, on a logarithmic scale."""
        cuts = np.linspace(0, self.last, COLUMNS + 1).round().astype(int)
        sums = np.concatenate([[0], np.cumsum(self.h.counts)])
        counts = np.diff(sums[cuts])
        most = math.log10(max(10, counts.max()))
        path = []
        for first, stop, count in zip(cuts[:-1], cuts[1:], counts, strict=True):
            if count:
                left, right = self.x(first * self.h.width), self.x(stop * self.h.width)
                top = TOP + HIGH * (1 - (math.log10(count) + 0.25) / (most + 0.25))
                path.append(f"M{left:.1f} {TOP + HIGH}V{top:.1f}H{right:.1f}V{TOP + HIGH}Z")
        bars = svg.tag("path", d="".join(path), fill="#0072b2", opacity="0.8")
        heights = {power: TOP + HIGH * (1 - (power + 0.25) / (most + 0.25)) + 4 for power in range(int(most) + 1)}
        ticks = [
            svg.text("tl-dim", f"{10**p:,}", (LEFT - 8, y), 12, svg.DIM, text_anchor="end") for p, y in heights.items()
        ]
        return [bars, svg.text("tl-dim", "values", (8, TOP - 14), 12, svg.DIM), *ticks]

    def _curves(self) -> list[str]:
        """Divergence and squared error of every threshold, each on a scale of its own, logarithmic."""
        base, parts = TOP + HIGH + 40, []
        for number, (name, (words, colour)) in enumerate(CURVES.items()):
            t = self.chosen[name]
            shown = (t.candidates <= self.last) & np.isfinite(t.losses) & (t.losses > 0)
            if not shown.any():
                continue
            logs = np.log10(t.losses[shown])
            low, high = logs.min(), max(logs.max(), logs.min() + 0.1)
            xs = [self.x(k * self.h.width) for k in t.candidates[shown]]
            ys = base + LOW * (high - logs) / (high - low)
            every = max(1, len(xs) // 400)
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*zip(xs, ys, strict=True)][::every])
            parts.append(svg.tag("polyline", points=points, fill="none", stroke=colour, stroke_width="2"))
            parts.append(svg.text("", f"— {words}", (LEFT + 130 * number, base - 8), 12, colour, 600))
        return parts

    def _marks(self) -> list[str]:
        """Where each calibrator clips, with its name; names near each other stand one below the other."""
        parts = list[str]()
        for number, (name, t) in enumerate(sorted(self.chosen.items(), key=lambda row: row[1].value)):
            x, y = self.x(t.value), TOP + 16 + 18 * number
            parts.append(svg.tag("line", x1=x, x2=x, y1=TOP, y2=TOP + HIGH, stroke=svg.DIM, stroke_dasharray="3 4"))
            parts.append(svg.text("tl-ink", name, (x - 5, y), 12, svg.INK, 600, svg.PAPER, text_anchor="end"))
        return parts

    def _axis(self) -> list[str]:
        y = TOP + HIGH
        floor = svg.tag("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, stroke=svg.LINE)
        most = self.last * self.h.width
        marks = [most * part / 4 for part in range(5)]
        words = [
            svg.text("tl-dim", f"{mark:.3g}", (self.x(mark), y + 15), 12, svg.DIM, text_anchor="middle")
            for mark in marks
        ]
        return [floor, *words]

    def facts(self) -> list[tuple[str, str, str]]:
        bins = self.setting["bins"]
        if bins not in self._known:
            self._known[bins] = self._facts(bins)
        return self._known[bins]

    def _facts(self, bins: int) -> list[tuple[str, str, str]]:
        rounding, clipping = errors(self.h, self.threshold)
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
    chosen, one = entropy(h), candidate(h, bins)
    figure = new(
        2, titles=(f"P and Q with {bins} bins kept: {one.divergence:.4f} nats", "divergence of every candidate")
    )
    edges = h.edges[:bins] + h.width / 2
    for number, (name, values) in enumerate({"P, clipped": one.p, "Q, in 128 levels": one.q}.items()):
        shown = np.where(values > 0, values, np.nan)
        figure.add_scatter(x=edges, y=shown, name=name, mode="lines", row=1, col=1,
                           line={"color": PALETTE[number], "width": 1.5, "shape": "hvh"})  # fmt: skip
    curve, least = {"color": PALETTE[2]}, float(chosen.losses.min())
    places = [bins * h.width, chosen.value], [one.divergence, least]
    look = {
        "marker": {"size": 9, "color": PALETTE[0]},
        "text": ["shown left", "least"],
        "textposition": ["top right", "bottom right"],
    }
    row = {"showlegend": False, "row": 1, "col": 2}
    figure.add_scatter(x=chosen.candidates * h.width, y=chosen.losses, mode="lines", line=curve, **row)
    figure.add_scatter(x=places[0], y=places[1], mode="markers+text", **look, **row)
    axes(figure, "magnitude", "")
    figure.update_yaxes(type="log", dtick=1)
    return finish(figure, "What the entropy calibrator compares", [live(["numpy"])], height=340, legend_px=24)


def draw_accuracies(rows: Sequence[Row], title: str) -> Drawing:
    """How a network answers in some formats, with the interval of each share and the bytes of its weights."""
    found = [
        (one.name, f"{one.accuracy:.1%}", "{:.1%} to {:.1%}".format(*one.interval), f"{one.same} of {one.total}",
         bytes_text(one.weights_bytes))
        for one in rows
    ]  # fmt: skip
    header = ("format", "right", "95 times of 100 between", "same answer as before", "weights")
    return card(table(header, found), head=[bold(title)], made=[live(["onnxruntime", "torch"], samples=1)])


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

FROM, TO, ROW = 90, 800, 46
MEMORY, COMPUTE = "#0072b2", "#d55e00"
SLIDERS = {
    "rows": ("rows at once (batch × tokens), 2 to the", 0, 13, 0), "size": ("columns and terms, 2 to the", 8, 14, 12),
    "gpu": ("", 0, len(gemm.GPUS) - 1, 1),
}  # fmt: skip


class RooflineView(SliderView):
    """The least time of y [m, n] = x [m, k] w [k, n] in every format that a GPU multiplies; n = k."""

    ABOUT = "What a format buys"

    def __init__(self, **setting: int) -> None:
        super().__init__(SLIDERS, setting, buttons={name: {"gpu": n} for n, name in enumerate(gemm.GPUS)})

    @property
    def times(self) -> list[gemm.GemmTime]:
        """One for each format that the chosen GPU multiplies."""
        rows, size, gpu = 2 ** self.setting["rows"], 2 ** self.setting["size"], [*gemm.GPUS][self.setting["gpu"]]
        return [
            gemm.gemm_time(rows, size, size, name, gpu)
            for name, how in gemm.FORMATS.items()
            if how[-1] in gemm.GPUS[gpu]
        ]

    def picture(self) -> str:
        times = self.times
        low = math.floor(math.log10(min(min(t.memory_s, t.compute_s) for t in times)))
        high = math.ceil(math.log10(max(t.seconds for t in times)))
        scale = (TO - FROM) / max(1, high - low)

        def x(seconds: float) -> float:
            return FROM + (math.log10(seconds) - low) * scale

        parts = self._axis(low, high, scale, 40 + ROW * len(times))
        for number, one in enumerate(times):
            y = 36 + ROW * number
            parts.append(svg.text("tl-ink", one.format, (8, y + 22), 14, svg.INK, 600))
            for seconds, colour, top in ((one.memory_s, MEMORY, y), (one.compute_s, COMPUTE, y + 17)):
                faint = "1" if seconds == one.seconds else "0.35"
                parts.append(svg.tag("rect", x=FROM, y=top + 2, width=max(1.0, x(seconds) - FROM), height=14, rx=2,
                                     fill=colour, opacity=faint))  # fmt: skip
            words = f"{seconds_text(one.seconds)}, {one.limit}"
            parts.append(svg.text("tl-ink", words, (TO + 10, y + 22), 13, svg.INK))
            if (measured := self._measured(one)) is not None:
                at = min(x(measured), TO)
                mark = svg.tag("path", svg.title(f"measured: {seconds_text(measured)}"), fill=svg.INK,
                               d=f"M{at:.1f} {y + 17}l7 -7l7 7l-7 7Z")  # fmt: skip
                parts.append(mark)
        return svg.whole("Least time of a product, by format", WIDTH, 66 + ROW * len(times), *parts)

    def _axis(self, low: int, high: int, scale: float, bottom: float) -> list[str]:
        key = (("bytes over bandwidth", MEMORY, FROM), ("operations over rate", COMPUTE, FROM + 190))
        parts = [svg.tag("rect", x=at, y=8, width=12, height=12, rx=2, fill=colour) for _, colour, at in key]
        parts += [svg.text("tl-ink", words, (at + 18, 18), 12, svg.INK) for words, _, at in key]
        if any(self._measured(one) for one in self.times):
            parts.append(svg.text("tl-ink", "◆ measured", (FROM + 380, 18), 12, svg.INK))
        for power in range(low, high + 1):
            at = FROM + (power - low) * scale
            parts.append(svg.tag("line", x1=at, x2=at, y1=30, y2=bottom, stroke="#d7dce1"))
            parts.append(
                svg.text("tl-dim", seconds_text(10.0**power), (at, bottom + 16), 12, svg.DIM, text_anchor="middle")
            )
        return parts

    def _measured(self, one: gemm.GemmTime) -> float | None:
        """What such a product took on the GPU that was measured."""
        size = 2 ** self.setting["size"]
        try:
            recorded = gemm.load(one.gpu.lower())
            found = recorded.run(one.format, 2 ** self.setting["rows"], size)
        except (RecordingMissing, KeyError):
            return None
        return found.median_s if found.n == size else None

    def facts(self) -> list[tuple[str, str, str]]:
        times = {one.format: one for one in self.times}
        best, half = min(times.values(), key=lambda t: t.seconds), times["FP16"]
        gpu = gemm.GPUS[half.gpu]
        balance = gpu["FP16"] / gpu["memory"]
        return [
            ("product", f"{2 ** self.setting['rows']:,} × {2 ** self.setting['size']:,}²", f"on {half.gpu}"),
            ("FP16", seconds_text(half.seconds), f"{half.intensity:.0f} operations a byte; balance {balance:.0f}"),
            ("least", best.format, f"{half.seconds / best.seconds:.2f} times as fast as FP16"),
            (
                "INT4 weights",
                seconds_text(times["W4A16"].seconds),
                f"{half.seconds / times['W4A16'].seconds:.2f} times",
            ),
        ]

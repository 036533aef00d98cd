"""teach/calibration: where to clip: a histogram under a threshold that can be dragged, and what an entropy calibrator
compares.

In: a `Histogram` of numeric/calibrate and, for the widget, a function that tells how many samples are right at a
threshold. Out: drawings, and `ClipView`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.engine.measure import live
from trtlab.lab.precision import Row
from trtlab.numeric.calibrate import CALIBRATORS, Histogram, candidate, entropy
from trtlab.teach import svg
from trtlab.teach.card import Drawing, bold, card, table
from trtlab.teach.figure import PALETTE, axes, finish, new
from trtlab.teach.sliders import SliderView
from trtlab.teach.units import bytes_text

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
        self._scene, self._right = _Scene(histogram), right
        self._known: dict[int, list[tuple[str, str, str]]] = {}
        most = self._scene.last
        chosen = {name: {"bins": min(most, max(1, t.bin))} for name, t in self._scene.chosen.items()}
        slider = {"bins": ("bins that are kept", 1, most, most)}
        super().__init__(slider, {}, buttons=chosen, hand=("bins", self._scene.x(histogram.width), RIGHT))

    @property
    def threshold(self) -> float:
        return self.setting["bins"] * self._scene.h.width

    def picture(self) -> str:
        return self._scene.picture(self.threshold)

    def facts(self) -> list[tuple[str, str, str]]:
        bins = self.setting["bins"]
        if bins not in self._known:
            self._known[bins] = self._scene.facts(self.threshold, self._right)
        return self._known[bins]


class _Scene:
    """A histogram as it is drawn; what does not move with the threshold is drawn once."""

    def __init__(self, h: Histogram) -> None:
        self.h = h
        self.last = min(h.counts.size, math.ceil(h.amax / h.width))
        self.chosen = {name: find(h) for name, find in CALIBRATORS.items()}

    def x(self, value: float) -> float:
        return LEFT + (RIGHT - LEFT) * value / (self.last * self.h.width)

    def picture(self, threshold: float) -> str:
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

    @cached_property
    def _ground(self) -> str:
        """Bars, curves, the calibrators' choices, the axis."""
        return "".join([*self._bars(), *self._curves(), *self._marks(), *self._axis()])

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

    def facts(self, threshold: float, right: Right | None) -> list[tuple[str, str, str]]:
        """Label, value, note."""
        rounding, clipping = errors(self.h, threshold)
        bins = max(1, round(threshold / self.h.width))
        beyond = int(self.h.counts[bins:].sum())
        found = [
            ("clipped", f"{beyond / max(1, self.h.count):.3%}", f"{beyond:,} of {self.h.count:,} values"),
            ("clipping error", f"{math.sqrt(clipping):.3g}", "root of the mean square"),
            ("rounding error", f"{math.sqrt(rounding):.3g}", "root of the mean square"),
            ("divergence", f"{candidate(self.h, bins).divergence:.3g}".replace("inf", "∞"), "KL(P‖Q), in nats"),
        ]
        if right is not None:
            good, of = right(threshold)
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

"""teach/quantpicture: a quantised tensor as a picture: values above the levels they may take, codes used, errors.

In: a `Reading` (what was quantised, and how). Out: SVG text. Colours stand in attributes, since GitHub removes style
sheets; quantview.css replaces them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import codec
from trtlab.numeric.describe import BlockFacts, FormatFacts
from trtlab.numeric.quantize import Quantized, sqnr_db
from trtlab.teach import svg
from trtlab.teach.units import bytes_text, counted

Array = npt.NDArray[Any]
_WIDTH, _HEIGHT, _BINS = 1000, 372, 121
_COLOURS = {"value": "#0072b2", "level": "#b8500f", "code": "#00805c", "zero": "#59636e", "error": "#a8478c",
            "line": svg.LINE, "dim": svg.DIM, "ink": svg.INK, "dead": "#d7dce1"}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """Values, what became of them, and which columns are outliers. Every number on the page is derived here."""

    values: Array
    quantized: Quantized
    outliers: tuple[int, ...] = ()

    @property
    def element(self) -> FormatFacts:
        fmt = self.quantized.format
        return fmt.element if isinstance(fmt, BlockFacts) else fmt

    @property
    def errors(self) -> Array:
        return np.subtract(self.quantized.values, self.values, dtype=np.float64)

    @property
    def sqnr_db(self) -> float:
        return sqnr_db(self.values, self.quantized.values)

    @property
    def inlier_sqnr_db(self) -> float:
        """Without the columns of outliers."""
        return sqnr_db(*(np.delete(each, self.outliers, axis=-1) for each in (self.values, self.quantized.values)))

    @property
    def zeroed(self) -> int:
        """Values that were not 0 and are now."""
        return int(((self.values != 0) & (self.quantized.values == 0)).sum())

    @cached_property
    def _steps(self) -> Array:
        """What an element of 1 is worth in each group."""
        fmt, scales = self.quantized.format, np.asarray(self.quantized.scales, np.float64)
        exponent = fmt.element_exponent if isinstance(fmt, BlockFacts) else 0
        return scales * 2.0**exponent * float(self.quantized.tensor_scale or 1)

    @property
    def saturated(self) -> int:
        """Values that lie further beyond the last level of their group than rounding would explain: half a step."""
        zeros = 0 if self.quantized.zero_points is None else self.quantized.zero_points
        used = self.elements
        ends = 1.5 * used[0] - 0.5 * used[1], 1.5 * used[-1] - 0.5 * used[-2]
        low, high = (self.quantized.groups.spread((end - zeros) * self._steps) for end in ends)
        return int(((self.values < low) | (self.values > high)).sum())

    def levels(self, place: float = 1.0) -> Array:
        """The values that a group may take: 1 is the group with the widest steps, 0.5 the median one."""
        order = np.argsort(self._steps, axis=None)
        group = order[round(place * (order.size - 1))]
        zeros = 0 if self.quantized.zero_points is None else self.quantized.zero_points.flat[group]
        return (self.elements - zeros) * self._steps.flat[group]

    @cached_property
    def elements(self) -> Array:
        """All finite values of an element, ascending, -128 of symmetric INT8 included."""
        values = codec.decode(self.element, self.element.all_codes())
        return np.unique(values[np.isfinite(values)]).astype(np.float64)

    @property
    def used(self) -> Array:
        """How often each of `elements` is used."""
        found = codec.decode(self.element, self.quantized.codes)
        return np.bincount(np.searchsorted(self.elements, found.ravel()), minlength=self.elements.size)

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """Label, number, note."""
        q, size = self.quantized, self.values.size
        share = f"{q.size_bytes / (4 * size):.1%} of FP32"
        return [
            ("SQNR", f"{self.sqnr_db:.1f} dB", "all values"),
            *([("inliers", f"{self.inlier_sqnr_db:.1f} dB", "outlier columns left out")] if self.outliers else []),
            ("bits per value", f"{q.bits_per_value:.4g}", f"{q.format.bits} and {counted(q.scales.size, 'scale')}"),
            ("size", bytes_text(q.size_bytes), share),
            ("became 0", f"{self.zeroed / size:.1%}", f"{self.zeroed:,} of {size:,}"),
            ("saturated", f"{self.saturated:,}", "beyond the last step"),
            ("levels used", f"{(self.used > 0).sum()}", f"of {self.elements.size}"),
        ]


# --- the picture -----------------------------------------------------------------------------------------------------


def draw_reading(reading: Reading, title: str, *, zoom: bool = False) -> str:
    """The whole SVG; `zoom` shows the middle 99 % of the values, half as wide again."""
    said = "   ·   ".join(f"{label} {value}" for label, value, _ in reading.facts)
    head = [_title(20, 26, title, size=15), _text(20, 46, said, 12)]
    body = [*_values(reading, zoom), *_codes(reading), *_errors(reading)]
    return svg.whole(f"{title}: {said}", _WIDTH, _HEIGHT, *head, *body)


def _values(reading: Reading, zoom: bool) -> list[str]:
    """The histogram, the band that rounds to 0, and the levels of the widest and the median group under it."""
    left, width, bottom = 112, 520, 228
    sizes = np.abs(reading.values, dtype=np.float64)
    limit = float(np.quantile(sizes, 0.99)) * 1.5 if zoom else float(sizes.max()) * 1.03
    limit = limit or 1.0
    counts, _ = np.histogram(np.divide(reading.values, limit, dtype=np.float64), _BINS, (-1, 1))
    widest, median = reading.levels(), reading.levels(0.5)

    def x(value: Any) -> Any:
        return left + width * (np.clip(value, -limit, limit) + limit) / (2 * limit)

    at = int(np.searchsorted(widest, 0))
    near = x((widest[max(at - 1, 0)] + widest[at]) / 2), x((widest[min(at + 1, widest.size - 1)] + widest[at]) / 2)
    body = [_title(20, 78, "values"), _text(left, 78, "grey: rounds to 0 in the widest group")]
    body += [_path("dead", f"M{near[0]:.1f} 88h{near[1] - near[0]:.1f}v{bottom - 88}h{near[0] - near[1]:.1f}z")]
    body += [_bars(left, bottom, width, 136, counts), _title(20, 258, "levels")]
    groups = [("widest group", widest, 273), ("median group", median, 302)][: reading.quantized.scales.size]
    for row, (which, levels, label) in enumerate(groups):
        ticks = "".join(f"M{x(level):.1f} {246 + 40 * row}v24" for level in levels[np.abs(levels) <= limit])
        body += [_text(20, label, which), _path("level", ticks, stroke="1.4")]
    return [*body, _scale(left, width, bottom, 342, [(x(v), f"{v:.3g}") for v in _ticks(limit)])]


def _codes(reading: Reading) -> list[str]:
    """How often each code is used; grey: the code of 0, where that is one code for all groups."""
    left, width, used = 690, 290, reading.used
    own_zeros = reading.quantized.zero_points is not None
    is_zero = np.arange(used.size) == np.searchsorted(reading.elements, 0)
    zeros = np.where(is_zero & (not own_zeros), used, 0)
    place = left + width * (int(is_zero.argmax()) + 0.5) / used.size
    ends = [(left + i * width, f"{reading.elements[-i]:.4g}") for i in (0, 1)]
    middle = [(place, "0")] if left + 40 < place < left + width - 40 else []
    return [
        _title(left, 78, "codes used, in the order of their values"),
        _bars(left, 176, width, 84, used, "code"),
        _bars(left, 176, width, 84, zeros, "zero", most=_full(used)),
        _scale(left, width, 176, 191, ends + middle),
    ]


def _errors(reading: Reading) -> list[str]:
    """Restored minus original."""
    left, width, errors = 690, 290, reading.errors
    limit = float(np.abs(errors).max()) or 1.0
    counts, _ = np.histogram(errors / limit, 61, (-1, 1))
    rms = float(np.sqrt(np.square(errors, dtype=np.float64).mean()))
    ends = [(left, -limit), (left + width / 2, 0), (left + width, limit)]
    return [
        _title(left, 222, f"errors, root mean square {rms:.3g}"),
        _bars(left, 326, width, 90, counts, "error"),
        _scale(left, width, 326, 342, [(at, f"{value:.3g}") for at, value in ends]),
    ]


def _ticks(limit: float) -> Sequence[float]:
    """Round numbers on both sides of 0."""
    step = 10.0 ** np.floor(np.log10(limit))
    step *= next(factor for factor in (0.25, 0.5, 1.0, 2.0, 2.5) if limit / (step * factor) <= 4)
    return [step * i for i in range(-int(limit / step), int(limit / step) + 1)]


def _bars(
    left: float, bottom: float, width: float, height: float, counts: Array, kind: str = "value", most: float = 0
) -> str:
    """Bars from `bottom` up; one that stands for anything is at least a line high.

    A bar more than twice as tall as any other is cut off and says how tall it is.
    """
    largest, full = int(counts.max()), most or _full(counts)
    tall = np.where(counts > 0, np.clip(counts * height / full, 1.5, height), 0)
    wide = width / counts.size
    gap = 1 if wide > 3 else 0
    bars = [
        f"M{left + i * wide + gap / 2:.1f} {bottom}v{-h:.1f}h{wide - gap:.2f}v{h:.1f}z"
        for i, h in enumerate(tall)
        if h > 0
    ]
    top = left + (int(counts.argmax()) + 1) * wide + 3, bottom - height + 9
    return _path(kind, "".join(bars)) + ("" if most or largest <= full else _text(*top, f"↑ {largest:,}"))


def _full(counts: Array) -> float:
    """The count of a bar of full height."""
    second, largest = np.sort(counts)[-2:]
    return float(max(largest / 6, second) if largest > 2 * second else largest) or 1.0


def _scale(left: float, width: float, bottom: float, y: float, ticks: Sequence[tuple[float, str]]) -> str:
    """The line under bars, and numbers below it; those at its ends stay within it."""
    anchors = {left: "start", left + width: "end"}
    numbers = [_text(at, y, words, text_anchor=anchors.get(at, "middle")) for at, words in ticks]
    return "".join([_path("line", f"M{left} {bottom}h{width}", stroke="1"), *numbers])


def _path(kind: str, d: str, stroke: str = "") -> str:
    fill, line = ("none", _COLOURS[kind]) if stroke else (_COLOURS[kind], "")
    return svg.tag("path", class_=f"qv-{kind}", fill=fill, stroke=line, stroke_width=stroke, d=d)


def _text(x: float, y: float, words: str, size: int = 12, **look: Any) -> str:
    return svg.text("qv-dim", words, (round(x, 1), y), size, _COLOURS["dim"], **look)


def _title(x: float, y: float, words: str, size: int = 13) -> str:
    return svg.text("qv-ink", words, (x, y), size, _COLOURS["ink"], 600)

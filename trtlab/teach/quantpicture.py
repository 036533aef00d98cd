"""teach/quantpicture: a quantised tensor as a picture: values above the levels they may take, codes used, errors.

In: a `Reading` (what was quantised, and how). Out: SVG text. Colours stand in attributes, since GitHub removes style
sheets; quantview.css replaces them. Every text passes through `escape`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import BlockFormat, Format
from trtlab.numeric.quantize import Quantized, sqnr_db
from trtlab.teach.drawing import bytes_text, escape

Array = npt.NDArray[Any]
_WIDTH, _HEIGHT, _BINS = 1000, 372, 121
_COLOURS = {"value": "#0072b2", "level": "#b8500f", "code": "#00805c", "zero": "#59636e", "error": "#a8478c",
            "line": "#8c959f", "dim": "#59636e", "ink": "#1f2328", "dead": "#d7dce1"}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """Values, what became of them, and which columns are outliers. Every number on the page is derived here."""

    values: Array
    quantized: Quantized
    outliers: tuple[int, ...] = ()

    @property
    def element(self) -> Format:
        fmt = self.quantized.format
        return fmt.element if isinstance(fmt, BlockFormat) else fmt

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
        exponent = fmt.element_exponent if isinstance(fmt, BlockFormat) else 0
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
        values = self.element.decode(self.element.all_codes())
        return np.unique(values[np.isfinite(values)]).astype(np.float64)

    @property
    def used(self) -> Array:
        """How often each of `elements` is used."""
        found = self.element.decode(self.quantized.codes)
        return np.bincount(np.searchsorted(self.elements, found.ravel()), minlength=self.elements.size)

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """Label, number, note."""
        q, size = self.quantized, self.values.size
        share = f"{q.size_bytes / (4 * size):.1%} of FP32"
        return [
            ("SQNR", f"{self.sqnr_db:.1f} dB", "all values"),
            *([("inliers", f"{self.inlier_sqnr_db:.1f} dB", "outlier columns left out")] if self.outliers else []),
            ("bits per value", f"{q.bits_per_value:.4g}", f"{q.format.bits} and {_count(q.scales.size, 'scale')}"),
            ("size", bytes_text(q.size_bytes), share),
            ("became 0", f"{self.zeroed / size:.1%}", f"{self.zeroed:,} of {size:,}"),
            ("saturated", f"{self.saturated:,}", "beyond the last step"),
            ("levels used", f"{(self.used > 0).sum()}", f"of {self.elements.size}"),
        ]


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


# --- the picture -----------------------------------------------------------------------------------------------------


def draw_reading(reading: Reading, title: str, *, zoom: bool = False) -> str:
    """The whole SVG; `zoom` shows the middle 99 % of the values, half as wide again."""
    said = "   ·   ".join(f"{label} {value}" for label, value, _ in reading.facts)
    body = [_text(20, 26, title, 15, "ink", bold=True), _text(20, 46, said, 12)]
    body += [*_values(reading, zoom), *_codes(reading), *_errors(reading)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" font-family="system-ui, sans-serif"><title>{escape(f"{title}: {said}")}</title>'
        f'<rect class="qv-paper" width="{_WIDTH}" height="{_HEIGHT}" rx="10" fill="#ffffff"/>{"".join(body)}</svg>'
    )


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
    body = [_text(20, 78, "values", 13, "ink", bold=True), _text(left, 78, "grey: rounds to 0 in the widest group", 11)]
    body += [_rect("dead", near[0], 88, near[1] - near[0], bottom - 88), _bars(left, bottom, width, 136, counts)]
    rows = [("levels", "widest group", widest)] + [("", "median group", median)] * (reading.quantized.scales.size > 1)
    for row, (label, which, levels) in enumerate(rows):
        y = 246 + 40 * row
        ticks = "".join(f"M{x(level):.1f} {y}v24" for level in levels[np.abs(levels) <= limit])
        body += [_text(20, y + 12, label or "", 13, "ink", bold=True), _text(20, y + (27 if label else 16), which, 11)]
        body.append(_path("level", ticks, stroke=1.4))
    body += [_line(left, bottom, width), *(_text(x(v), 342, f"{v:.3g}", 11, anchor="middle") for v in _ticks(limit))]
    return body


def _codes(reading: Reading) -> list[str]:
    """How often each code is used; grey: the code of 0, where that is one code for all groups."""
    left, width, used = 690, 290, reading.used
    own_zeros = reading.quantized.zero_points is not None
    zero = int(np.searchsorted(reading.elements, 0))
    ends = [(left, "start", reading.elements[0]), (left + width, "end", reading.elements[-1])]
    place = left + width * (zero + 0.5) / used.size
    middle = [(place, "middle", 0)] if left + 40 < place < left + width - 40 else []
    return [
        _text(left, 78, "codes used, in the order of their values", 13, "ink", bold=True),
        _bars(left, 176, width, 84, used, "code"),
        _bars(
            left,
            176,
            width,
            84,
            np.where(np.arange(used.size) == zero, used, 0) * (not own_zeros),
            "zero",
            most=_full(used),
        ),
        _line(left, 176, width),
        *(_text(at, 191, f"{value:.4g}", 11, anchor=anchor) for at, anchor, value in ends + middle),
    ]


def _errors(reading: Reading) -> list[str]:
    """Restored minus original."""
    left, width, errors = 690, 290, reading.errors
    limit = float(np.abs(errors).max()) or 1.0
    counts, _ = np.histogram(errors / limit, 61, (-1, 1))
    rms = float(np.sqrt(np.square(errors, dtype=np.float64).mean()))
    ends = [(left, "start", -limit), (left + width / 2, "middle", 0), (left + width, "end", limit)]
    return [
        _text(left, 222, f"errors, root mean square {rms:.3g}", 13, "ink", bold=True),
        _bars(left, 326, width, 90, counts, "error"),
        _line(left, 326, width),
        *(_text(at, 342, f"{value:.3g}", 11, anchor=anchor) for at, anchor, value in ends),
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
    bars = (
        f"M{left + i * wide + gap / 2:.1f} {bottom}v{-h:.1f}h{wide - gap:.2f}v{h:.1f}z"
        for i, h in enumerate(tall)
        if h > 0
    )
    if most or largest <= full:
        return _path(kind, "".join(bars))
    label = _text(left + (int(counts.argmax()) + 1) * wide + 3, bottom - height + 9, f"↑ {largest:,}", 11)
    return _path(kind, "".join(bars)) + label


def _full(counts: Array) -> float:
    """The count of a bar of full height."""
    second, largest = np.sort(counts)[-2:]
    return float(max(largest / 6, second) if largest > 2 * second else largest) or 1.0


def _path(kind: str, d: str, stroke: float = 0) -> str:
    paint = f'fill="none" stroke="{_COLOURS[kind]}" stroke-width="{stroke}"' if stroke else f'fill="{_COLOURS[kind]}"'
    return f'<path class="qv-{kind}" {paint} d="{d}"/>'


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return _path(kind, f"M{x:.1f} {y}h{width:.1f}v{height}h{-width:.1f}z")


def _line(left: float, bottom: float, width: float) -> str:
    return _path("line", f"M{left} {bottom}h{width}", stroke=1)


def _text(x: float, y: float, text: str, size: int, kind: str = "dim", *, bold: bool = False, anchor: str = "") -> str:
    look = (' font-weight="600"' if bold else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return (
        f'<text class="qv-{kind}" x="{x:.1f}" y="{y}" font-size="{size}" fill="{_COLOURS[kind]}"{look}>'
        f"{escape(text)}</text>"
    )

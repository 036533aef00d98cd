"""teach/quantview: a tensor under any quantisation: `QuantView("gaussian", "INT4", "32")`.

In: a tensor, a format, and which values share a scale. Out: `QuantView`. Choices come from the page or from Python,
numeric quantises, a `Reading` counts and draws: values above the levels they may take, codes used, errors. Colours
stand in attributes, since GitHub removes style sheets; static/quantview.css replaces them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trtlab.numeric import BlockFormat, Format, IntegerFormat, codec, quantize
from trtlab.numeric.quantize import Quantized, sqnr_db
from trtlab.numeric.units import bytes_text, counted
from trtlab.teach import svg
from trtlab.teach.card import Drawing, details, stack, table
from trtlab.teach.formats import GRANULARITIES, find_format, name_of
from trtlab.teach.widget import Widget, script, styles

Array = npt.NDArray[Any]
OFFERED = (
    "INT8", "INT4", "FP8_E4M3", "FP8_E5M2", "FP4_E2M1", "NF4", "MXFP8_E4M3", "MXFP6_E2M3", "MXFP4", "MXINT8", "NVFP4",
)  # fmt: skip
AFFINE = " + zero point"
MOST = codec.COMPILED_FROM - 1  # from there on, a choice would first have its kernel compiled: half a second
_TRIALS = 5
_WIDTH, _HEIGHT, _BINS = 1000, 372, 121
_COLOURS = {"value": "#0072b2", "level": "#b8500f", "code": "#00805c", "zero": "#59636e", "error": "#a8478c",
            "line": svg.LINE, "dim": svg.DIM, "ink": svg.INK, "dead": svg.FAINT}  # fmt: skip


# --- tensors ---------------------------------------------------------------------------------------------------------


def _normal(rows: int, columns: int) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)


def _with_outliers() -> tuple[Array, str]:
    values = _normal(16, 1024)
    values[:, 700] *= 100
    return values, "16 rows × 1,024 columns of N(0, 1), seed 0; one column × 100"


def _weights(name: str) -> tuple[Array, str]:
    from onnx import load, numpy_helper

    from trtlab.engine.networks import DIGITS_ONNX

    (found,) = (each for each in load(DIGITS_ONNX).graph.initializer if each.name == name)
    values = numpy_helper.to_array(found)
    size = " × ".join(map(str, (values := values.reshape(len(values), -1)).shape))
    return values, f"{name} of the trained digits network, {size}: a row makes one output channel"


TENSORS: dict[str, Callable[[], tuple[Array, str]]] = {
    "gaussian": lambda: (_normal(64, 256), "64 rows × 256 columns of N(0, 1), seed 0"),
    "gaussian with outliers": _with_outliers,
    "trained conv weights": lambda: _weights("conv2.weight"),
    "trained fc weights": lambda: _weights("fc.weight"),
    "after ReLU": lambda: (np.maximum(_normal(64, 256), 0), "max(0, x), x of N(0, 1), seed 0"),
}
"""Rows of values, one row per channel (or token), and what they are."""


def own_tensor(array: npt.ArrayLike) -> tuple[Array, str]:
    """Any array as rows. ValueError for one with no or too many values, or with NaN or infinity."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused in words
        values = codec.float_array(array).astype(np.float32)
    quantize.amax(values)
    if not 0 < values.size <= MOST:
        raise ValueError(f"the view takes 1 to {MOST:,} values: got shape {values.shape}; pass a slice")
    values = values.reshape(len(values) if values.ndim > 1 else 1, -1)
    return values, f"your array, as {' × '.join(map(str, values.shape))}"


# --- numbers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """Values, and what became of them. Every number on the page is derived here."""

    values: Array
    quantized: Quantized

    @property
    def sqnr_db(self) -> float:
        return sqnr_db(self.values, self.quantized.values)

    @cached_property
    def outliers(self) -> Array:
        """The columns whose values are 20 times as large as usual, where any are usual."""
        sizes = np.sqrt(np.square(self.values, dtype=np.float64).mean(axis=0))
        return np.flatnonzero(sizes > 20 * np.median(sizes)) if np.median(sizes) else np.array([], int)

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
        values = codec.decode(rule := self.quantized.element, rule.all_codes())
        return np.unique(values[np.isfinite(values)]).astype(np.float64)

    @property
    def used(self) -> Array:
        """How often each of `elements` is used."""
        found = codec.decode(self.quantized.element, self.quantized.codes)
        return np.bincount(np.searchsorted(self.elements, found.ravel()), minlength=self.elements.size)

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """Label, number, note."""
        q, size = self.quantized, self.values.size
        share = f"{q.size_bytes / (4 * size):.1%} of FP32"
        return [
            ("SQNR", f"{self.sqnr_db:.1f} dB", "all values"),
            *([("inliers", f"{self.inlier_sqnr_db:.1f} dB", "outliers left out")] if self.outliers.size else []),
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
    head = [_title(20, 26, title, size=15), _text(20, 46, said)]
    body = [*_values(reading, zoom), svg.tag("g", *_codes(reading), *_errors(reading), class_="qv-side")]
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
    ticks = [(x(value), f"{value:.3g}") for value in _ticks(limit)]
    body += [*_bars("value", (left, bottom, width, 136), counts, ticks, 342), _title(20, 258, "levels")]
    groups = [("widest group", widest, 273), ("median group", median, 302)][: reading.quantized.scales.size]
    for row, (which, levels, label) in enumerate(groups):
        lines = "".join(f"M{x(level):.1f} {246 + 40 * row}v24" for level in levels[np.abs(levels) <= limit])
        body += [_text(20, label, which), _path("level", lines, stroke="1.4")]
    return body


def _codes(reading: Reading) -> list[str]:
    """How often each code is used; grey: the code of 0, where that is one code for all groups."""
    left, width, used = 690, 290, reading.used
    zero = int(np.searchsorted(reading.elements, 0))
    place = left + width * (zero + 0.5) / used.size
    ticks = [(left + i * float(width), f"{reading.elements[-i]:.4g}") for i in (0, 1)]
    ticks += [(place, "0")] if left + 40 < place < left + width - 40 else []
    grey = zero if reading.quantized.zero_points is None and reading.elements[zero] == 0 else None
    title = _title(left, 78, "codes used, in the order of their values")
    return [title, *_bars("code", (left, 176, width, 84), used, ticks, 191, grey)]


def _errors(reading: Reading) -> list[str]:
    """Restored minus original."""
    left, width = 690, 290
    errors = np.subtract(reading.quantized.values, reading.values, dtype=np.float64)
    limit = float(np.abs(errors).max()) or 1.0
    counts, _ = np.histogram(errors / limit, 61, (-1, 1))
    ticks = [(left + width * (1.0 + i) / 2, f"{i * limit:.3g}") for i in (-1, 0, 1)]
    title = _title(left, 222, f"errors, root mean square {float(np.sqrt(np.square(errors).mean())):.3g}")
    return [title, *_bars("error", (left, 326, width, 90), counts, ticks, 342)]


def _ticks(limit: float) -> Sequence[float]:
    """Round numbers on both sides of 0."""
    step = 10.0 ** np.floor(np.log10(limit))
    step *= next(factor for factor in (0.25, 0.5, 1.0, 2.0, 2.5) if limit / (step * factor) <= 4)
    return [step * i for i in range(-int(limit / step), int(limit / step) + 1)]


def _bars(
    kind: str, place: tuple[float, float, float, float], counts: Array, ticks: Sequence[tuple[float, str]], y: float,
    grey: int | None = None,
) -> list[str]:  # fmt: skip
    """Bars over a line, in a place of left, bottom, width and height; numbers at `y`, those at its ends within it.

    A bar that stands for anything is at least a line high; one more than twice as tall as any other is cut off and
    says how tall it is; `grey` is drawn grey.
    """
    left, bottom, width, height = place
    second, largest = np.sort(counts)[-2:]
    full = (max(largest / 6, second) if largest > 2 * second else largest) or 1
    wide, gap = width / counts.size, 1 if width / counts.size > 3 else 0
    bars = [
        f"M{left + i * wide + gap / 2:.1f} {bottom}v{-h:.1f}h{wide - gap:.2f}v{h:.1f}z" if h else ""
        for i, h in enumerate(np.where(counts > 0, np.clip(counts * height / full, 1.5, height), 0))
    ]
    parts = [_path(kind, "".join(bars)), *([] if grey is None else [_path("zero", bars[grey])])]
    if largest > full:
        parts.append(_text(left + (int(counts.argmax()) + 1) * wide + 3, bottom - height + 9, f"↑ {largest:,}"))
    anchors = {left: "start", left + width: "end"}
    numbers = [_text(at, y, words, text_anchor=anchors.get(at, "middle")) for at, words in ticks]
    return [*parts, _path("line", f"M{left} {bottom}h{width}", stroke="1"), *numbers]


def _path(kind: str, d: str, stroke: str = "") -> str:
    fill, line = ("none", _COLOURS[kind]) if stroke else (_COLOURS[kind], "")
    return svg.tag("path", class_=f"qv-{kind}", fill=fill, stroke=line, stroke_width=stroke, d=d)


def _text(x: float, y: float, words: str, **look: Any) -> str:
    return svg.text("qv-dim", words, (round(x, 1), y), 12, _COLOURS["dim"], **look)


def _title(x: float, y: float, words: str, size: int = 13) -> str:
    return svg.text("qv-ink", words, (x, y), size, _COLOURS["ink"], 600)


# --- the widget ------------------------------------------------------------------------------------------------------


class QuantView(Widget):
    """Values, levels, codes, errors and SQNR of one tensor under one format; `QuantView(weights, "NVFP4")`.

    `tensor` is a name of TENSORS or an array of at most 32,767 values; `format` a name or any format of at most 8
    bits, `+ zero point` after an integer's name for affine; `granularity` is tensor, channel (a row), or a block size.
    `choose` changes them; `reading` has the numbers. ValueError says what cannot be, KeyError which names there are.
    """

    _esm = script("quantview")
    _css = styles("cards", "quantview")

    def __init__(
        self,
        tensor: str | npt.ArrayLike = "gaussian",
        format: str | Format = "INT8",  # noqa: A002
        granularity: str | int = "tensor",
        *,
        zoom: bool = False,
    ) -> None:
        self._tensors, self._formats = dict(TENSORS), dict[str, tuple[Format, bool]]()
        for name in OFFERED:
            self._offer(name)
        self._choice, self._trials = dict[str, Any](), dict[str, list[str]]()
        super().__init__()
        self.choose(tensor=tensor, format=format, granularity=granularity, zoom=zoom)

    def choose(self, **wish: Any) -> None:
        """Choose as when it was made; nothing changes when it cannot be. The one place where the page is made."""
        if unknown := ", ".join(wish.keys() - {"tensor", "format", "granularity", "zoom"}):
            raise TypeError(f"there is no choice of {unknown}: expected tensor, format, granularity or zoom")
        choice, tensors = self._choice | wish, self._tensors
        if not isinstance(choice["tensor"], str):
            own = own_tensor(choice["tensor"])
            choice["tensor"], tensors = "your array", tensors | {"your array": lambda: own}
        choice |= {"format": self._offer(choice["format"]), "granularity": str(choice["granularity"])}
        for kind, names in {"tensor": [*tensors], "format": [*self._formats], "granularity": [*GRANULARITIES]}.items():
            if choice[kind] not in names:
                raise KeyError(f"no {choice[kind]!r} here; there are {', '.join(names)}")
        (values, about), (fmt, symmetric) = tensors[choice["tensor"]](), self._formats[choice["format"]]
        is_block, shared = isinstance(fmt, BlockFormat), _shared(fmt, choice["granularity"])
        groups = {} if is_block else GRANULARITIES[choice["granularity"]] | {"symmetric": symmetric}
        reading = Reading(values=values, quantized=fmt.quantize(values, **groups, partial=True))
        self._choice, self._tensors, self.reading = choice, tensors, reading
        title, facts = f"{choice['tensor']} in {choice['format']}, {shared}", [list(fact) for fact in reading.facts]
        bits = next(value for label, value, _ in facts if label == "bits per value")
        trial = [choice["tensor"], choice["format"], shared, facts[0][1], bits]
        self._trials = {title: trial} | {key: old for key, old in self._trials.items() if key != title}
        with self.hold_sync():
            self.face = {"tensors": [*self._tensors], "formats": [*self._formats], "granularities": [*GRANULARITIES]}
            self.shown = {
                **choice, "fixed": is_block, "shared": shared, "about": about, "title": title, "facts": facts,
                "refusal": "", "trials": [*self._trials.values()][:_TRIALS],
                "svg": draw_reading(reading, title, zoom=choice["zoom"]),
            }  # fmt: skip

    def static(self) -> Drawing:
        """The picture and its numbers without a kernel."""
        picture, facts = self.shown["svg"], table(("", "", ""), self.reading.facts, bare=True)
        words = details(self.shown["title"], facts, self.shown["about"])
        return svg.drawing(stack([svg.shown(picture), words]), picture)

    def _offer(self, which: str | Format) -> str:
        """The name under which a format may be chosen from now on; integers also with a zero point."""
        if isinstance(which, str) and which in self._formats:
            return which
        fmt = find_format(which.removesuffix(AFFINE) if isinstance(which, str) else which, blocks=True)
        name = name_of(fmt)
        if fmt.bits > 8:
            raise ValueError(f"the view counts every code, so it takes at most 8 bits: got {name}, {fmt.bits} bits")
        self._formats[name] = (fmt, True)
        if isinstance(fmt, IntegerFormat):
            self._formats[name + AFFINE] = (fmt, False)
        return which if isinstance(which, str) else name

    def hear(self, wish: dict[str, Any]) -> None:
        """What cannot be chosen comes back as a sentence, and all stays as it was."""
        kinds = {"tensor": str, "format": str, "granularity": str, "zoom": bool}
        if not all(type(value) is kinds.get(key) for key, value in wish.items()):
            return
        try:
            self.choose(**wish)
        except (ValueError, KeyError) as refusal:
            self.shown = {**self.shown, "refusal": str(refusal.args[0])}


def _shared(fmt: Format, granularity: str) -> str:
    """Which values share a scale, in words."""
    if isinstance(fmt, BlockFormat):
        second = " and one for the tensor" if fmt.tensor_scale else ""
        return f"blocks of {fmt.block_size}, {fmt.scale} scales{second}"
    words = {"tensor": "one scale for the tensor", "channel": "one scale per row"}
    return words.get(granularity, f"blocks of {granularity}, FP32 scales")

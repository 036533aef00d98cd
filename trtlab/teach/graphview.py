"""teach/graphview: a graph to look at and to walk through.

In: an ONNX model, a BuildReport, or both. Out: a widget (zoom, search, fold, select; `view.selected` in Python) whose
static form is the same SVG. The data come from trtlab.graph, the picture from graphsvg; graphview.js renders the state
that is kept here.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import traitlets

from trtlab.graph.groups import Group, Scene, fold_to_fit, label_groups, module_groups, scene
from trtlab.graph.onnxpicture import picture_from_onnx
from trtlab.graph.picture import Node, Picture
from trtlab.teach.drawing import Drawing
from trtlab.teach.graphsvg import draw_graph, legend
from trtlab.teach.graphtext import (
    describe_group,
    describe_node,
    describe_picture,
    notice,
    searchable,
    static_drawing,
    summary,
)
from trtlab.teach.layout import warm_up
from trtlab.teach.reportgraph import picture_from_kernels, picture_from_network, with_kernels
from trtlab.teach.widget import STATIC, Widget

if TYPE_CHECKING:
    import onnx

    from trtlab.engine.nvidia.report import BuildReport

BOX_LIMIT = 150
"""Boxes that are laid out at once; a larger graph starts with groups folded."""
NODE_LIMIT = 1500
"""Nodes that may be laid out without any group."""

warm_up()


def _picture(model: Any, report: Any) -> Picture:
    if isinstance(model, Picture):
        return model
    if hasattr(model, "kernels") and hasattr(model, "layers"):
        raise TypeError(
            "GraphView(model) draws an ONNX model: got a BuildReport. "
            "Use GraphView.from_network(report), GraphView.from_kernels(report) or GraphView(model, report=report)."
        )
    if not isinstance(model, (str, os.PathLike, bytes, bytearray, memoryview)) and not hasattr(model, "graph"):
        raise TypeError(
            f"GraphView draws an onnx.ModelProto, its bytes or the path of an .onnx file: got {type(model).__name__}."
        )
    picture = picture_from_onnx(model)
    return picture if report is None else with_kernels(picture, _report(report))


def _report(report: Any) -> "BuildReport":
    if not (hasattr(report, "kernels") and hasattr(report, "layers")):
        raise TypeError(f"expected the BuildReport that trtlab.explain returns: got {type(report).__name__}.")
    return report


def _groupings(picture: Picture, box_limit: int) -> dict[str, tuple[Group, ...]]:
    """The ways to group this picture, the preferred one first."""
    found = {"kernel": label_groups(picture.merged), "module": module_groups(picture, box_limit)}
    found = {word: groups for word, groups in found.items() if groups}
    if len(picture.nodes) <= NODE_LIMIT:
        found["nothing"] = ()
    return found


class GraphView(Widget):
    """A clickable picture of a graph; `GraphView(model)`, `GraphView(model, report=report)` and the `from_` methods.

    `selected` is the chosen Node or Group (or None), from a click as from Python; it may be set to a node's name.
    `fold` and `unfold` take labels of groups, `search` returns the nodes that it found. TypeError and ValueError say
    what can be drawn instead.
    """

    _esm = STATIC / "graphview.js"
    _css = STATIC / "graphview.css"

    svg = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    details = traitlets.Dict().tag(sync=True)
    query = traitlets.Unicode().tag(sync=True)
    hits = traitlets.List(traitlets.Unicode()).tag(sync=True)
    found = traitlets.List(traitlets.Int()).tag(sync=True)
    grouping = traitlets.Unicode().tag(sync=True)
    groupings = traitlets.List(traitlets.Unicode()).tag(sync=True)
    legend: Any = traitlets.List().tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    foot = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(460).tag(sync=True)

    def __init__(
        self,
        model: "str | os.PathLike[str] | bytes | onnx.ModelProto | Picture",
        *,
        report: "BuildReport | None" = None,
        group_by: str | None = None,
        height: int = 460,
        box_limit: int = BOX_LIMIT,
        rightwards: bool = False,
    ) -> None:
        """`group_by` is `module`, `kernel` (with a report) or `nothing`; `height` is that of the canvas in pixels."""
        self.picture = _picture(model, report)
        self._rightwards, self._box_limit = rightwards, box_limit
        self._groups = _groupings(self.picture, box_limit)
        if group_by is not None and group_by not in self._groups:
            raise ValueError(f"group_by={group_by!r} is not possible here: use {', '.join(map(repr, self._groups))}")
        self._folded: frozenset[str] = frozenset()
        self._at = -1
        self._matches: list[int] = []
        super().__init__(
            groupings=list(self._groups),
            grouping=group_by or next(iter(self._groups)),
            legend=legend(self.picture),
            title=summary(self.picture),
            foot=self.picture.foot,
            height=height,
        )
        self.on_msg(self._on_message)
        self._regroup()

    @classmethod
    def from_network(cls, report: "BuildReport", **options: Any) -> "GraphView":
        """The layers of the network definition, as the parser made them."""
        return cls(picture_from_network(_report(report)), **options)

    @classmethod
    def from_kernels(cls, report: "BuildReport", **options: Any) -> "GraphView":
        """The kernels and the tensors between them; colours are streams, dashed lines events between streams."""
        return cls(picture_from_kernels(_report(report)), **options)

    # --- for Python -------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> Node | Group | None:
        """What is selected: a Node, a Group, or None."""
        return next((item for item in self._items() if item.key == self.chosen), None)

    @selected.setter
    def selected(self, wanted: Node | Group | str | None) -> None:
        """Select a node or group, by itself or by name; KeyError names some that exist."""
        if wanted is None:
            self.chosen = ""
            return
        name = wanted if isinstance(wanted, str) else wanted.key
        for item in self._items():
            if name in {item.key, item.name if isinstance(item, Node) else item.label}:
                self._show(item.key)
                return
        raise KeyError(f"no node or group {name!r}; there are {', '.join(n.name for n in self.picture.nodes[:8])} ...")

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of the present grouping."""
        return self._groups[self.grouping]

    @property
    def folded(self) -> tuple[str, ...]:
        """Labels of the groups that are folded."""
        return tuple(group.label for group in self.groups if group.key in self._folded)

    def fold(self, *labels: str) -> None:
        """Fold the groups with these labels; all of them without a label."""
        self._refold(self._folded | self._keys(labels))

    def unfold(self, *labels: str) -> None:
        """Open the groups with these labels; all of them without a label."""
        self._refold(self._folded - self._keys(labels))

    def search(self, text: str) -> list[Node]:
        """The nodes with `text` in their operator, name or kernel, upper and lower case alike; they are marked."""
        self.query = text
        return [self.picture.nodes[number] for number in self._matches]

    def next_hit(self, step: int = 1) -> Node | None:
        """Select the next node that the search found, opening the groups around it."""
        if not self._matches:
            return None
        self._at = (self._at + step) % len(self._matches) if self._at >= 0 or step > 0 else len(self._matches) - 1
        node = self.picture.nodes[self._matches[self._at]]
        self._show(node.key)
        self.found = [self._at + 1, len(self._matches)]
        return node

    def static(self) -> Drawing:
        """The picture without a kernel: its SVG, a legend, and a table of the nodes as text."""
        css = (STATIC / "graphview.css").read_text(encoding="utf-8")
        return static_drawing(self.picture, self.svg, self.legend, self.notice, css)

    def _items(self) -> list[Node | Group]:
        return [*self.picture.nodes, *self.groups]

    # --- state ------------------------------------------------------------------------------------------------------

    def _keys(self, labels: Iterable[str]) -> frozenset[str]:
        labels, known = set(labels), {group.label for group in self.groups}
        if missing := sorted(labels - known):
            raise KeyError(f"no group {missing[0]!r}; there are {', '.join(sorted(known)) or 'none'}")
        return frozenset(group.key for group in self.groups if not labels or group.label in labels)

    @traitlets.observe("grouping")
    def _on_grouping(self, change: Any) -> None:
        if change["new"] not in self._groups:
            self.grouping = change["old"]
        elif change["old"]:
            self._regroup()

    def _regroup(self) -> None:
        self._refold(fold_to_fit(self.picture, self.groups, self._box_limit))
        if self.selected is None:
            self.chosen = ""

    def _refold(self, folded: frozenset[str]) -> None:
        """The one place where a picture is made."""
        self._folded = folded
        self._scene: Scene = scene(self.picture, self.groups, folded)
        with self.hold_sync():
            self.notice = notice(self.picture, self._scene, self.groups, folded)
            kernels = self.grouping == "kernel"
            self.svg = draw_graph(self.picture, self._scene, self.groups, kernels=kernels, rightwards=self._rightwards)
            self._mark()
            self._describe()

    def _show(self, key: str) -> None:
        """Select, after opening the groups that hide it."""
        around = [group for group in self.groups if self._is_inside(key, group)]
        if hidden := self._folded & {group.key for group in around}:
            self._refold(self._folded - hidden)
        self.chosen = key

    def _is_inside(self, key: str, group: Group) -> bool:
        if key.startswith("n"):
            return int(key[1:]) in group.members
        inner = next(g for g in self.groups if g.key == key)
        return inner.key != group.key and inner.depth > group.depth and inner.members <= group.members

    @traitlets.observe("chosen")
    def _describe(self, _change: Any = None) -> None:
        chosen = self.selected
        if isinstance(chosen, Node):
            self.details = describe_node(chosen, self._groups.get("kernel", ()))
        elif isinstance(chosen, Group):
            self.details = describe_group(chosen, self.picture, chosen.key in self._folded)
        else:
            self.details = describe_picture(self.picture)

    @traitlets.observe("query")
    def _on_query(self, _change: Any) -> None:
        text, self._at = self.query.strip().casefold(), -1
        self._matches = [n for n, node in enumerate(self.picture.nodes) if text and text in searchable(node)]
        self._mark()

    def _mark(self) -> None:
        self.hits = list(dict.fromkeys(self._scene.box_of[number] for number in self._matches))
        self.found = [self._at + 1, len(self._matches)]

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """What the page asks for: {"do": "toggle", "key": ...}, next with a step, fold or unfold everything."""
        match content:
            case {"do": "toggle", "key": str(key)} if any(group.key == key for group in self.groups):
                self._refold(self._folded ^ {key})
            case {"do": "next", "step": int(step)}:
                self.next_hit(step)
            case {"do": "around", "key": str(key)} if any(item.key == key for item in self._items()):
                self._fold_around(key)
            case {"do": "fold"}:
                self.fold()
            case {"do": "unfold"}:
                self.unfold()

    def _fold_around(self, key: str) -> None:
        """Fold the innermost open group around a node or group, and select it."""
        around = [g for g in self.groups if g.key not in self._folded and self._is_inside(key, g)]
        if around:
            inner = max(around, key=lambda group: group.depth)
            with self.hold_sync():
                self.chosen = inner.key
                self._refold(self._folded | {inner.key})

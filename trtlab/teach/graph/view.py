"""teach/graph/view: a graph to look at and to walk through.

In: an ONNX model, and the BuildReport made of it where there is one. Out: a widget (zoom, fold, select; Python knows
what is selected) whose static form is the same SVG with a table of its nodes. graphview.js renders the state.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import traitlets

from trtlab.engine.nvidia.report import BuildReport
from trtlab.graph.onnxfile import OnnxModel
from trtlab.numeric.units import counted
from trtlab.teach import svg
from trtlab.teach.card import SvgDrawing, bold, card, details, table
from trtlab.teach.graph.arrange import Group, Scene, fold_to_fit, kernel_groups, module_groups, scene, with_kernels
from trtlab.teach.graph.draw import draw_graph, legend, still
from trtlab.teach.graph.picture import Node, Picture, picture_from_onnx
from trtlab.teach.widget import Widget, script, styles

BOX_LIMIT = 150
"""Boxes that are laid out at once; a larger graph starts with groups folded."""
ROWS = 40
"""Rows of a list beside the drawing before it ends in `… more`."""


class GraphView(Widget):
    """A clickable picture of a graph; `GraphView(model)` or `GraphView(model, report=report)`.

    `selected` is the chosen Node or Group, or None; `folded` has the labels of the groups that are closed. TypeError
    and ValueError say what can be drawn instead.
    """

    _esm = script("graphview")
    _css = styles("cards", "graphview")
    svg = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    details = traitlets.Dict().tag(sync=True)
    grouping = traitlets.Unicode().tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)

    def __init__(self, model: OnnxModel | Picture, *, report: BuildReport | None = None) -> None:
        if isinstance(model, BuildReport):
            raise TypeError("GraphView draws an ONNX model: got a BuildReport. Use GraphView(model, report=report).")
        picture = model if isinstance(model, Picture) else picture_from_onnx(model)
        self.picture = picture if report is None else with_kernels(picture, report)
        kernels = {"kernel": kernel_groups(self.picture)} if self.picture.kernels else {}
        self._groups = kernels | {"module": module_groups(self.picture, BOX_LIMIT)}
        words = {"legend": legend(self.picture), "title": _summary(self.picture), "foot": self.picture.foot}
        super().__init__(face={"groupings": [*self._groups], **words}, grouping=next(iter(self._groups)))

    @property
    def selected(self) -> Node | Group | None:
        """What is selected: a Node, a Group, or None."""
        return next((item for item in (*self.picture.nodes, *self.groups) if item.key == self.chosen), None)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of the present grouping."""
        return self._groups.get(self.grouping, ())

    @property
    def folded(self) -> tuple[str, ...]:
        """Labels of the groups that are folded."""
        return tuple(group.label for group in self.groups if group.key in self._folded)

    def static(self) -> SvgDrawing:
        """The picture without a kernel: its SVG, a legend, and a table of the nodes and their kernels."""
        header = ["node", "name", "writes", *["kernel"] * bool(self.picture.kernels)]
        rows = [
            (n.op, n.name, ", ".join(t.type_text for t in n.outputs), n.kernel or n.apart)[: len(header)]
            for n in self.picture.operators
        ]
        nodes = details("nodes in a table", table(header, rows, fold=True))
        parts = still(self.svg, self.face["legend"]), self.notice, nodes
        return svg.drawing(card(*parts, head=[bold(self.face["title"])], foot=[self.picture.foot]), self.svg)

    @traitlets.observe("grouping")
    def _on_grouping(self, _change: Any) -> None:
        self.chosen = self.chosen if self.chosen.startswith("n") else ""  # keys of groups mean others now
        self._fold(fold_to_fit(self.picture, self.groups, BOX_LIMIT))

    def _fold(self, folded: frozenset[str]) -> None:
        """The one place where a picture is made."""
        self._folded = folded
        shown = scene(self.picture, self.groups, folded)
        with self.hold_sync():
            self.svg = draw_graph(self.picture, shown, self.groups)
            self.notice = _notice(self.picture, shown, self.groups)
            self._describe()

    @traitlets.observe("chosen")
    def _describe(self, _change: Any = None) -> None:
        chosen = self.selected
        told = _about_node(chosen) if isinstance(chosen, Node) else _about_group(self.picture, chosen)
        fold = {"fold": chosen.key, "folded": chosen.key in self._folded} if isinstance(chosen, Group) else {}
        self.details = told | fold

    def hear(self, wish: dict[str, Any]) -> None:
        """What the page asks for: to open or fold a group, the innermost open one around what is chosen, or all."""
        keys = {group.key for group in self.groups}
        match wish:
            case {"toggle": str(key)} if key in keys:
                self._fold(self._folded ^ {key})
            case {"around": True} if item := self.selected:
                inside = item.members if isinstance(item, Group) else {int(item.key[1:])}
                around = [g.key for g in self.groups if g != item and inside <= g.members and g.key not in self._folded]
                for home in around[-1:]:
                    with self.hold_sync():
                        self.chosen = home
                        self._fold(self._folded | {home})
            case {"all": bool(closed)}:
                self._fold(frozenset(keys if closed else ()))


# --- words ----------------------------------------------------------------------------------------------------------


def _summary(picture: Picture) -> str:
    """`digits: 17 nodes, 24 constants`; with a report also the kernels, and the nodes that went into none."""
    words = [counted(len(picture.operators), "node"), counted(picture.constants, "constant")]
    if picture.kernels:
        words.append(f"in {len(kernel_groups(picture))} of {counted(picture.kernels, 'kernel')}")
    words += [f"{n} {why}" for why, n in Counter(node.apart for node in picture.nodes).items() if why]
    return f"{picture.title}: {', '.join(words)}"


def _notice(picture: Picture, shown: Scene, groups: Sequence[Group]) -> str:
    """What is hidden and how to see it; nothing where everything is shown."""
    closed = [group for group in groups if group.key in shown.frame_of]
    inside = sum(len(group.members) for group in closed)
    hidden = f"{counted(len(closed), 'group')} folded ({inside} of {counted(len(picture.operators), 'node')} inside)"
    return f"{hidden}: double-click one to open it." if closed else ""


def _about_node(node: Node) -> dict[str, Any]:
    tensors = {"inputs": node.inputs, "weights and constants": node.weights, "outputs": node.outputs}
    typed = {head: [(tensor.name, tensor.type_text) for tensor in found] for head, found in tensors.items()}
    parts = {"": (("name", node.name), *node.facts), "attributes": node.attributes, **typed}
    return {"title": node.op, "kind": node.family, "sections": _sections(parts)}


def _about_group(picture: Picture, group: Group | None) -> dict[str, Any]:
    """What a group or the whole picture holds: how often each operator occurs, and for a group its nodes."""
    nodes = [picture.nodes[n] for n in sorted(group.members)] if group else picture.operators
    ops = [(op, str(number)) for op, number in Counter(node.op for node in nodes).most_common()]
    members = [(node.op, node.name) for node in nodes] if group else []
    title, kind = (group.label, "group of ") if group else (picture.title, "")
    sections = _sections({"nodes by type": ops, "members": members})
    return {"title": title, "kind": kind + counted(len(nodes), "node"), "sections": sections}


def _sections(rows_of: Mapping[str, Iterable[tuple[str, str]]]) -> list[dict[str, Any]]:
    """Heads and at most ROWS rows of each; empty ones are left out."""
    found = []
    for head, rows in ((head, [*rows]) for head, rows in rows_of.items()):
        more = [["…", f"{len(rows) - ROWS} more"]] if len(rows) > ROWS else []
        found += [{"head": head, "rows": [*map(list, rows[:ROWS]), *more]}] if rows else []
    return found

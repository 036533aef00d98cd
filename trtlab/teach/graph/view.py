"""teach/graph/view: a graph to look at and to walk through.

In: an ONNX model, and the BuildReport made of it where there is one. Out: a widget (zoom, search, fold, select;
`view.selected` in Python) whose static form is the same SVG with a table of its nodes. graphview.js renders the state.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import traitlets

from trtlab.engine.nvidia.report import BuildReport
from trtlab.graph.onnxfile import OnnxModel
from trtlab.numeric.units import counted
from trtlab.teach.card import Drawing, SvgDrawing, bold, card, details, table
from trtlab.teach.graph.arrange import Group, Scene, fold_to_fit, kernel_groups, module_groups, scene, with_kernels
from trtlab.teach.graph.draw import draw_graph, legend, still
from trtlab.teach.graph.picture import Node, Picture, Tensor, picture_from_onnx
from trtlab.teach.widget import Widget, script, styles

BOX_LIMIT = 150
"""Boxes that are laid out at once; a larger graph starts with groups folded."""
ROWS = 40
"""Rows of a list before it ends in `… more`."""


class GraphView(Widget):
    """A clickable picture of a graph; `GraphView(model)` or `GraphView(model, report=report)`.

    `selected` is the chosen Node or Group (or None), from a click as from Python; it may be set to a node's name.
    `fold` and `unfold` close and open all groups, `search` returns the nodes that it found. TypeError and ValueError
    say what can be drawn instead.
    """

    _esm = script("graphview")
    _css = styles("graphview")

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

    def __init__(self, model: OnnxModel | Picture, *, report: BuildReport | None = None) -> None:
        if isinstance(model, BuildReport):
            raise TypeError("GraphView draws an ONNX model: got a BuildReport. Use GraphView(model, report=report).")
        picture = model if isinstance(model, Picture) else picture_from_onnx(model)
        self.picture = picture if report is None else with_kernels(picture, report)
        kernels = {"kernel": kernel_groups(self.picture)} if self.picture.kernels else {}
        self._groups = kernels | {"module": module_groups(self.picture, BOX_LIMIT)}
        self._at, self._matches = -1, list[int]()
        super().__init__(
            groupings=list(self._groups),
            grouping=next(iter(self._groups)),
            legend=legend(self.picture),
            title=_summary(self.picture),
            foot=self.picture.foot,
        )
        self.on_msg(self._on_message)

    # --- for Python -------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> Node | Group | None:
        """What is selected: a Node, a Group, or None."""
        return next((item for item in self._items() if item.key == self.chosen), None)

    @selected.setter
    def selected(self, wanted: Node | Group | str | None) -> None:
        """Select a node or group, by itself or by name, and open what hides it; KeyError names some that exist."""
        name = wanted if isinstance(wanted, str) or wanted is None else wanted.key
        found = [i for i in self._items() if name in {i.key, i.name if isinstance(i, Node) else i.label}][:1]
        if name is not None and not found:
            some = ", ".join(node.name for node in self.picture.nodes[:8])
            raise KeyError(f"no node or group {name!r}; there are {some} ...")
        if hidden := self._folded.intersection(group.key for item in found for group in self._around(item)):
            self._fold(self._folded - hidden)
        self.chosen = found[0].key if found else ""

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of the present grouping."""
        return self._groups.get(self.grouping, ())

    @property
    def folded(self) -> tuple[str, ...]:
        """Labels of the groups that are folded."""
        return tuple(group.label for group in self.groups if group.key in self._folded)

    def fold(self) -> None:
        """Fold every group."""
        self._fold(frozenset(group.key for group in self.groups))

    def unfold(self) -> None:
        """Open every group."""
        self._fold(frozenset())

    def search(self, text: str) -> list[Node]:
        """The nodes with `text` in operator, name, module or facts, upper and lower case alike; they are marked."""
        self.query = text
        return [self.picture.nodes[number] for number in self._matches]

    def next_hit(self, step: int = 1) -> Node | None:
        """Select the next node that the search found, opening the groups around it."""
        if not self._matches:
            return None
        self._at = (max(self._at, 0 if step < 0 else -1) + step) % len(self._matches)
        node = self.picture.nodes[self._matches[self._at]]
        self.selected = node
        self._mark()
        return node

    def static(self) -> Drawing:
        """The picture without a kernel: its SVG, a legend, and a table of the nodes and their kernels."""
        header, rows = _listed(self.picture)
        nodes = details("nodes in a table", table(header, rows, fold=True))
        parts = still(self.svg, self.legend), self.notice, nodes
        shown = card(*parts, head=[bold(self.title)], foot=[self.foot] if self.foot else [])
        return SvgDrawing(html=shown.html, text=shown.text, svg=self.svg)

    # --- state ------------------------------------------------------------------------------------------------------

    @traitlets.observe("grouping")
    def _on_grouping(self, _change: Any) -> None:
        self.chosen = self.chosen if self.chosen.startswith("n") else ""  # keys of groups mean others now
        self._fold(fold_to_fit(self.picture, self.groups, BOX_LIMIT))

    def _fold(self, folded: frozenset[str]) -> None:
        """The one place where a picture is made."""
        self._folded = folded
        self._scene: Scene = scene(self.picture, self.groups, folded)
        with self.hold_sync():
            self.svg = draw_graph(self.picture, self._scene, self.groups)
            self.notice = _notice(self.picture, self._scene, self.groups)
            self._mark()
            self._describe()

    def _items(self) -> list[Node | Group]:
        return [*self.picture.nodes, *self.groups]

    def _around(self, item: Node | Group) -> list[Group]:
        """The groups that an item stands in, from the outermost to the innermost."""
        members = item.members if isinstance(item, Group) else {int(item.key[1:])}
        return [group for group in self.groups if group != item and members <= group.members]

    @traitlets.observe("chosen")
    def _describe(self, _change: Any = None) -> None:
        chosen = self.selected
        told = _describe_node(chosen) if isinstance(chosen, Node) else _describe_nodes(self.picture, chosen)
        if isinstance(chosen, Group):
            told |= {"fold": chosen.key, "folded": chosen.key in self._folded}
        self.details = told

    @traitlets.observe("query")
    def _on_query(self, _change: Any) -> None:
        text, self._at = self.query.strip().casefold(), -1
        self._matches = [n for n, node in enumerate(self.picture.nodes) if text and text in _searchable(node)]
        self._mark()

    def _mark(self) -> None:
        self.hits = list(dict.fromkeys(self._scene.box_of[number] for number in self._matches))
        self.found = [self._at + 1, len(self._matches)]

    def _on_message(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """What the page asks for: open or fold a group or the innermost one around a node, or all; the next hit."""
        match content:
            case {"do": "toggle", "key": str(key)} if any(group.key == key for group in self.groups):
                self._fold(self._folded ^ {key})
            case {"do": "around"} if self.selected:
                for group in [g for g in self._around(self.selected) if g.key not in self._folded][-1:]:
                    with self.hold_sync():
                        self.chosen = group.key
                        self._fold(self._folded | {group.key})
            case {"do": "next", "step": int(step)}:
                self.next_hit(step)
            case {"do": "fold" | "unfold" as do}:
                getattr(self, do)()


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
    hidden = f"{counted(len(closed), 'group')} folded ({inside} of {counted(len(picture.nodes), 'node')} inside)"
    return f"{hidden}: double-click one to open it." if closed else ""


def _listed(picture: Picture) -> tuple[list[str], list[tuple[str, ...]]]:
    """Header and rows of the table of nodes; with a report, each with its kernel or why it has none."""
    header = ["node", "name", "writes", *(["kernel"] if picture.kernels else [])]
    rows = []
    for node in picture.operators:
        writes = ", ".join(tensor.type_text for tensor in node.outputs)
        rows.append((node.op, node.name, writes, *([node.kernel or node.apart] if picture.kernels else [])))
    return header, _first(rows)


def _describe_node(node: Node) -> dict[str, Any]:
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "": (("name", node.name), *node.facts),
        "attributes": node.attributes,
        "inputs": _typed(node.inputs),
        "weights and constants": _typed(node.weights),
        "outputs": _typed(node.outputs),
    }
    return {"title": node.op, "kind": node.family, "sections": _sections(sections)}


def _describe_nodes(picture: Picture, group: Group | None) -> dict[str, Any]:
    """What a group or the whole picture holds: how often each operator occurs, and for a group its nodes."""
    nodes = [picture.nodes[n] for n in sorted(group.members)] if group else picture.operators
    ops = [(op, str(number)) for op, number in Counter(node.op for node in nodes).most_common()]
    members = [(node.op, node.name) for node in nodes] if group else []
    title, kind = (group.label, "group of ") if group else (picture.title, "")
    sections = _sections({"nodes by type": ops, "members": members})
    return {"title": title, "kind": kind + counted(len(nodes), "node"), "sections": sections}


def _sections(rows_of: dict[str, Iterable[tuple[str, str]]]) -> list[dict[str, Any]]:
    return [{"head": head, "rows": list(map(list, _first(list(rows))))} for head, rows in rows_of.items() if rows]


def _first(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The first ROWS rows, and how many more there are."""
    more = len(rows) - ROWS
    return [*rows[:ROWS], ("…", f"{more} more", *[""] * len(rows[0][2:]))] if more > 0 else [*rows]


def _typed(tensors: Iterable[Tensor]) -> list[tuple[str, str]]:
    return [(tensor.name, tensor.type_text) for tensor in tensors]


def _searchable(node: Node) -> str:
    return "\n".join([node.op, node.name, node.home, *(text for _, text in node.facts)]).casefold()

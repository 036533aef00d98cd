"""teach/graph/change: a model before and after a rewrite as two drawings in which everything that changed is marked.

In: exported models at two moments, and the names of the original nodes that a step took. Out: `Panel`s. A fused node
is one box with its operators inside; of a large graph only what lies nearest to the change is drawn, and said so.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import onnx

from trtlab.graph.cost import NO_KERNEL
from trtlab.graph.fused import ORIGINS
from trtlab.graph.rule import FUSED, IN_PLACE, STANDARD
from trtlab.teach.graph.groups import fold_to_fit, module_groups, scene
from trtlab.teach.graph.picture import Node, Picture, connected, family_of, picture_from_onnx
from trtlab.teach.graph.svg import Mark, counted, draw_graph, legend

WHOLE = 40
"""Operators up to which a graph is drawn whole."""
AROUND = 22
"""Operators drawn around a change in a larger graph."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A model at one moment, without its weights. `nodes` counts all that compute. By name of a node: the original
    nodes it stands for, a number that changes when the node does, its tensors, the operators inside a fused one."""

    picture: Picture
    nodes: int
    origins: Mapping[str, frozenset[str]]
    codes: Mapping[str, int]
    tensors: Mapping[str, frozenset[str]]
    members: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One drawing: the SVG, what stands above it, what it leaves out, and the legend of its colours."""

    svg: str
    caption: str
    notice: str
    legend: list[list[str]]


def frame_of(model: onnx.ModelProto) -> Frame:
    """The frame of an exported model, in which every node has a name of its own."""
    inside = {f.name: tuple(n.op_type for n in f.node if n.op_type != "Constant") for f in model.functions}
    protos = {node.name: node for node in model.graph.node}
    members = {name: inside.get(node.op_type, ()) for name, node in protos.items() if node.domain == FUSED}
    origins = {name: _origins(node) for name, node in protos.items()}
    picture = picture_from_onnx(model)
    nodes = tuple(
        node if node.is_end else _told(node, protos[node.name].domain, members, origins) for node in picture.nodes
    )
    return Frame(
        picture=replace(picture, nodes=nodes),
        nodes=sum(node.op_type != "Constant" for node in protos.values()),
        origins={name: frozenset(found) for name, found in origins.items()},
        codes={name: hash(node.SerializeToString(deterministic=True)) for name, node in protos.items()},
        tensors={name: frozenset([*node.input, *node.output]) for name, node in protos.items()},
        members=members,
    )


def _origins(node: onnx.NodeProto) -> list[str]:
    listed = {entry.key: entry.value for entry in node.metadata_props}.get(ORIGINS, node.name)
    return [name for name in listed.split("\n") if name]


def _told(node: Node, domain: str, members: Mapping[str, tuple[str, ...]], origins: Mapping[str, list[str]]) -> Node:
    """The node in a learner's words: what a fused node stands for, and whether a kernel is needed at all."""
    if domain == FUSED and node.op.startswith(IN_PLACE):
        return replace(node, op="Concat in place", apart="no kernel")
    if domain == FUSED:
        family = family_of(members[node.name][0]) if members[node.name] else node.family
        return replace(node, op="one fused kernel", line=", ".join(origins[node.name]), family=family)
    return replace(node, apart="no kernel") if domain in STANDARD and node.op in NO_KERNEL else node


def draw_change(before: Frame, after: Frame, where: Collection[str]) -> tuple[Panel, Panel]:
    """Both graphs around one step: what it took is replaced, removed or kept; what it made is new."""
    new = _marks(after, before, where, "new")
    made = any(mark.kind == "new" for mark in new.values())
    old = _marks(before, after, where, "gone", "replaced" if made else "removed")
    names = (name for name, origins in before.origins.items() if not origins.isdisjoint(where))
    tensors = frozenset().union(*(before.tensors[name] for name in names))
    near = {name for frame in (before, after) for name, own in frame.tensors.items() if not own.isdisjoint(tensors)}
    return _panel(before, old, near), _panel(after, new, near)


def draw_whole(before: Frame, after: Frame) -> tuple[Panel, Panel]:
    """The first graph and the last: what no node of the other stands for is removed, what was not there is new."""
    left = frozenset().union(*after.origins.values())
    names = {name for name, origins in before.origins.items() if not origins & left}
    changed = {
        n for name, origins in after.origins.items() if before.codes.get(name) != after.codes[name] for n in origins
    }
    return _panel(before, _marks(before, after, names, "gone", "removed")), _panel(
        after, {key: mark for key, mark in _marks(after, before, changed, "new").items() if mark.kind == "new"}
    )


def _marks(frame: Frame, other: Frame, where: Collection[str], kind: str, word: str = "") -> dict[str, Mark]:
    """A mark for each node that stands for one of `where`; what the other frame has too is kept."""
    found = {}
    for node in frame.picture.operators:
        if not frame.origins[node.name].isdisjoint(where):
            kept = other.codes.get(node.name) == frame.codes[node.name]
            found[node.key] = Mark(kind="kept", word="kept") if kept else Mark(kind=kind, word=word or kind)
    return found


def _panel(frame: Frame, marks: Mapping[str, Mark], near: Collection[str] = ()) -> Panel:
    """The drawing: whole, or what is nearest to the marks, or to these nodes where nothing is marked, or folded."""
    whole, hidden = frame.picture, frame.nodes - len(frame.picture.operators)
    picture, notice = whole, f"{counted(hidden, 'node')} of constants alone: not drawn" if hidden else ""
    keys = marks or [node.key for node in whole.operators if node.name in near]
    if len(whole.operators) > WHOLE and near and keys:
        picture = _nearest(whole, keys)
        notice = f"{len(picture.operators)} of {counted(frame.nodes, 'node')} drawn: those nearest to the change"
    groups = module_groups(picture, WHOLE) if len(picture.operators) > WHOLE else ()
    shown = scene(picture, groups, fold_to_fit(picture, groups, WHOLE))
    inside = {node.key: frame.members.get(node.name, ()) for node in picture.operators}
    full = {key: replace(marks.get(key, Mark()), members=names) for key, names in inside.items()}
    return Panel(
        svg=draw_graph(picture, shown, groups, full),
        caption=f"{counted(frame.nodes, 'node')}, {counted(whole.constants - hidden, 'constant')}",
        notice=f"too large to draw every node: {counted(len(groups), 'group')}, some folded" if groups else notice,
        legend=legend(picture),
    )


def _nearest(picture: Picture, keys: Collection[str]) -> Picture:
    """The nodes with these keys and about AROUND nearest to them, along the edges in both directions."""
    beside: dict[int, list[int]] = defaultdict(list)
    for edge in picture.edges:
        beside[edge.source].append(edge.target)
        beside[edge.target].append(edge.source)
    queue = deque(number for number, node in enumerate(picture.nodes) if node.key in keys)
    seen = dict.fromkeys(queue)
    while queue and len(seen) < AROUND:
        for number in beside[queue.popleft()]:
            if number not in seen and len(seen) < AROUND:
                seen[number] = None
                queue.append(number)
    nodes = tuple(picture.nodes[number] for number in sorted(seen))
    return replace(picture, nodes=nodes, edges=connected(nodes))

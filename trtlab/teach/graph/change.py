"""teach/graph/change: a model before and after a rewrite as two pictures in which everything that changed is marked.

In: pictures of exported models at two moments, and the names of the original nodes that a step took. Out: the same
with marks; of a large graph only what lies nearest to the change.
"""

from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import replace

import onnx

from trtlab.graph.ops import NO_KERNEL
from trtlab.teach.graph.picture import Node, Picture, connected, picture_from_onnx

WHOLE = 40
"""Operators up to which a graph is drawn whole."""
AROUND = 22
"""Operators drawn around a change in a larger graph."""


def picture_of_step(model: onnx.ModelProto) -> Picture:
    """The picture of an exported model; what needs no kernel says so."""
    picture = picture_from_onnx(model)
    nodes = (replace(n, apart="no kernel") if n.op in NO_KERNEL and not n.facts else n for n in picture.nodes)
    return replace(picture, nodes=tuple(nodes))


def around_step(before: Picture, after: Picture, where: Collection[str]) -> tuple[Picture, Picture]:
    """Both graphs around one step: what it took is replaced, removed or kept; what it made is new."""
    new = _marked(after, before, where, "new")
    old = _marked(before, after, where, "replaced" if any(node.mark == "new" for node in new.nodes) else "removed")
    nodes = (*before.operators, *before.undrawn)
    touched = {name for node in nodes if not set(where).isdisjoint(node.stands_for) for name in node.tensors}
    near = {node.name for node in (*before.operators, *after.operators) if node.tensors & touched}
    return _nearest(old, near), _nearest(new, near)


def whole_way(before: Picture, after: Picture) -> tuple[Picture, Picture]:
    """The first graph and the last: what no node of the other stands for is removed, what was not there is new."""
    left = {name for node in after.operators for name in node.stands_for}
    lost = {name for node in before.operators if left.isdisjoint(node.stands_for) for name in node.stands_for}
    return _marked(before, after, lost, "removed"), _marked(after, before, left, "new", kept="")


def _marked(picture: Picture, other: Picture, where: Collection[str], word: str, kept: str = "kept") -> Picture:
    """A mark on each node that stands for one of `where`; what the other picture has too is kept."""
    twins = {replace(node, key="") for node in other.operators}

    def marked(node: Node) -> Node:
        if node.is_end or set(where).isdisjoint(node.stands_for):
            return node
        return replace(node, mark=kept if replace(node, key="") in twins else word)

    return replace(picture, nodes=tuple(map(marked, picture.nodes)))


def _nearest(picture: Picture, names: Collection[str]) -> Picture:
    """A large picture cut down to what is marked, or else to the nodes of these names, and about AROUND nearest to
    them, along the edges in both directions."""
    near = [number for number, node in enumerate(picture.nodes) if node.mark]
    near = near or [n for n, node in enumerate(picture.nodes) if not node.is_end and node.name in names]
    if len(picture.operators) <= WHOLE or not near:
        return picture
    beside: dict[int, list[int]] = defaultdict(list)
    for edge in picture.edges:
        beside[edge.source].append(edge.target)
        beside[edge.target].append(edge.source)
    queue, seen = deque(near), dict.fromkeys(near)
    while queue and len(seen) < AROUND:
        for number in beside[queue.popleft()]:
            if number not in seen and len(seen) < AROUND:
                seen[number] = None
                queue.append(number)
    nodes = tuple(picture.nodes[number] for number in sorted(seen))
    return replace(picture, nodes=nodes, edges=connected(nodes))

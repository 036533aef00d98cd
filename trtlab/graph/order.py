"""graph/order: which node must run before which.

In: the nodes of one graph (onnx_ir). Out: predecessors, a topological order, and which nodes can become one node.
Checked by tests/graph/test_order.py on random graphs against definitions by hand.
"""

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

import onnx_ir as ir

_HOLDS_GRAPHS = {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}


def subgraphs(node: ir.Node) -> list[ir.Graph]:
    """The graphs inside a node: the branches of If, the bodies of Loop and Scan."""
    held = (a for a in node.attributes.values() if a.type in _HOLDS_GRAPHS and not a.is_ref())
    return [graph for a in held for graph in (a.value if a.type == ir.AttributeType.GRAPHS else [a.value])]


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """The values a node needs: its inputs, and whatever the graphs inside it read from outside."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        yield from graph.outputs
        for inner in graph:
            yield from reads(inner)


def predecessors(node: ir.Node) -> dict[ir.Node, None]:
    """The nodes of the same graph that must run before this one, each once, in the order of the inputs."""
    makers = (value.producer() for value in reads(node))
    return {maker: None for maker in makers if maker is not None and maker.graph is node.graph}


def topological_order(nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """The nodes, each after those of them that it reads: Kahn's algorithm, O(edges + nodes log nodes).

    Every node waits for its predecessors. Of those that wait for nobody, the first of the given ones goes next, so that
    a sorted graph stays as it is. Those that are left over wait for each other: ValueError names a cycle.
    """
    place = {node: number for number, node in enumerate(nodes)}
    given = list(place)
    waits_for = {node: predecessors(node).keys() & place.keys() for node in given}
    waiting = defaultdict(list)
    for node, makers in waits_for.items():
        for maker in makers:
            waiting[maker].append(node)
    ready = [place[node] for node, makers in waits_for.items() if not makers]
    order = []
    while ready:
        node = given[heapq.heappop(ready)]
        order.append(node)
        for reader in waiting[node]:
            waits_for[reader].discard(node)
            if not waits_for[reader]:
                heapq.heappush(ready, place[reader])
    if len(order) < len(waits_for):
        left = {node: makers for node, makers in waits_for.items() if makers}
        raise ValueError(f"the graph has a cycle: {' <- '.join(_cycle(left))}. A node cannot wait for its own result.")
    return order


def _cycle(waits_for: dict[ir.Node, set[ir.Node]]) -> list[str]:
    """Walk from waiting node to waiting node until one comes up again."""
    path = [next(iter(waits_for))]
    while (node := next(maker for maker in predecessors(path[-1]) if maker in waits_for)) not in path:
        path.append(node)
    return [str(node.name) for node in [*path[path.index(node) :], node]]


def numbered(graph: ir.Graph) -> dict[ir.Node, float]:
    """The nodes in topological order with a place: no path leads to a node from one with a higher place."""
    return {node: float(number) for number, node in enumerate(topological_order(graph))}


def renumber(node: ir.Node) -> None:
    """A place for a new node between those that it reads and its readers; all are numbered anew if there is none."""
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        return
    places: dict[ir.Node, float] = graph.meta["places"]
    first = max((places[maker] for maker in predecessors(node)), default=-1.0)
    last = min((places.get(use.node, first) for value in node.outputs for use in value.uses()), default=first + 1)
    places[node] = (first + last) / 2
    if not first < places[node] < last:
        graph.meta["places"] = numbered(graph)


class Region:
    """A convex region that grows from a node of a numbered graph: no path leaves it and comes back. One that did would
    make the region, folded into one node, wait for itself. We walk back from what the region reads, no further than
    where it begins: meeting the region again is such a path."""

    def __init__(self, first: ir.Node) -> None:
        self.places: Mapping[ir.Node, float] = first.graph.meta["places"] if first.graph is not None else {}
        self.members, self._lowest = set[ir.Node](), self.places[first]
        self._sources, self._latest = dict[ir.Node, None](), -1.0
        self.add(first)

    def add(self, node: ir.Node) -> None:
        """Takes the node in."""
        self.members.add(node)
        self._sources |= (makers := predecessors(node))
        self._latest = max([self._latest, *(self.places[maker] for maker in makers)])
        self._lowest = min(self._lowest, self.places[node])

    def can_take(self, node: ir.Node) -> bool:
        """Whether the region with the node is convex: no path between them runs over other nodes."""
        if self._meets(predecessors(node), self.members, self._lowest):
            return False
        readers = (use.node for value in node.outputs for use in value.uses())
        if self._latest < self.places[node] or all(reader in self.members for reader in readers):
            return True
        return not self._meets(self._sources, {node}, self.places[node])

    def _meets(self, starts: Iterable[ir.Node], goal: Collection[ir.Node], lowest: float) -> bool:
        """Whether a walk back from the starts outside the region, over places behind `lowest`, meets the goal."""
        stack = [s for s in starts if s not in self.members and s not in goal and self.places[s] > lowest]
        seen = set(stack)
        while stack:
            for maker in predecessors(stack.pop()):
                if maker in goal:
                    return True
                if maker not in seen and self.places[maker] > lowest:
                    seen.add(maker)
                    stack.append(maker)
        return False

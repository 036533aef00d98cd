"""Common subexpressions: the same operator on the same values is computed once.

    x -> Exp -> a,  x -> Exp -> b   ->   x -> Exp -> a,  and who read b reads a

Algebra: f(x) = f(x) for a deterministic f. Values are the same if they are one value, or constants of the same bits
(0.0 and -0.0 differ: 1/x tells them apart).
"""

from collections.abc import Hashable, Sequence

import onnx_ir as ir

from trtlab.graph.rule import Rule, constant, graph_of, has_place, is_data, replace
from trtlab.graph.rules.constant_folding import LIMIT_BYTES, is_deterministic


def bits(value: ir.Value | None) -> Hashable:
    """What is equal for two inputs only if they always hold the same bits."""
    array = constant(value)
    if array is None or array.dtype.hasobject or array.nbytes > LIMIT_BYTES:
        return value
    return array.dtype.str, array.shape, array.tobytes()


def kind(node: ir.Node) -> Hashable:
    """What is equal for two nodes only if they are one operator with the same attributes, bit by bit."""
    attributes = sorted(
        (name, ir.to_proto(a).SerializeToString(deterministic=True)) for name, a in node.attributes.items()
    )
    return node.domain, node.op_type, node.overload, tuple(attributes)


def work(node: ir.Node) -> Hashable:
    """What is equal for two nodes only if they always compute the same: one kind, the same inputs, and outputs."""
    return kind(node), tuple(map(bits, node.inputs)), tuple(value.name != "" for value in node.outputs)


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """The node and the one before it that does the same."""
    if not node.inputs or is_data(node) or not is_deterministic(node):
        return []
    seen: dict[Hashable, ir.Node] = graph_of(node).meta.setdefault("work", {})
    done = work(node)
    first = seen.setdefault(done, node)
    if first.graph is not node.graph:  # taken out meanwhile
        seen[done] = first = node
    return [] if first is node else [first, node]


def check(nodes: Sequence[ir.Node]) -> str:
    """Two outputs of the graph need two nodes, and so does a place in a concatenation."""
    for a, b in zip(*(node.outputs for node in nodes), strict=True):
        if a.is_graph_output() and b.is_graph_output():
            return f"{a.name} and {b.name} are both outputs of the graph"
        if place := has_place(a) or has_place(b):
            return place
    return ""


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """The readers of the second node read the first."""
    kept, twin = nodes
    replace([twin], [], dict(zip(twin.outputs, kept.outputs, strict=True)))
    return f"{twin.name} computes what {kept.name} computes"


RULE = Rule(name="common_subexpressions", pattern=pattern, check=check, rewrite=rewrite)

"""Common subexpressions: the same operator on the same values is computed once.

    x -> Exp -> a,  x -> Exp -> b   ->   x -> Exp -> a,  and who read b reads a

Algebra: f(x) = f(x) for a deterministic f. Values are the same if they are one value, or constants of the same bits
(0.0 and -0.0 differ: 1/x tells them apart).
"""

from collections.abc import Sequence

import onnx_ir as ir

from trtlab.graph.rule import Rule, constant, has_place, is_data, replace
from trtlab.graph.rules.constant_folding import LIMIT_BYTES, is_deterministic


def same_value(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two inputs always hold the same bits."""
    if a is b or a is None or b is None:
        return a is b
    x, y = constant(a), constant(b)
    if x is None or y is None or x.dtype != y.dtype or x.shape != y.shape or x.nbytes > LIMIT_BYTES:
        return False
    return x.tobytes() == y.tobytes()


def same_kind(a: ir.Node, b: ir.Node) -> bool:
    """Whether both are one operator with the same attributes."""
    return (a.domain, a.op_type, a.overload) == (b.domain, b.op_type, b.overload) and a.attributes == b.attributes


def same_work(a: ir.Node, b: ir.Node) -> bool:
    """Whether both always compute the same: one kind, the same inputs, the same outputs written."""
    written = [[value.name != "" for value in node.outputs] for node in (a, b)]
    if not same_kind(a, b) or len(a.inputs) != len(b.inputs) or written[0] != written[1]:
        return False
    return all(same_value(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """The node and another one on the same first input that does the same."""
    if not node.inputs or node.inputs[0] is None or is_data(node) or not is_deterministic(node):
        return []
    others = (use.node for use in node.inputs[0].uses() if use.idx == 0 and use.node.graph is node.graph)
    twin = next((other for other in others if other is not node and same_work(node, other)), None)
    return [] if twin is None else [node, twin]


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

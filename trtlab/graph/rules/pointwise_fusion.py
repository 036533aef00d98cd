"""Pointwise fusion: any graph of elementwise operators is one kernel with one loop.

    a, b, c -> Mul(a, b) -> Add(c) -> Relu -> y   ->   a, b, c -> [Mul Add Relu] -> y

Algebra: none. Number i of every result depends on number i of the inputs alone (after broadcasting), so one loop over i
can do all operators. The region must be convex (no path leaves it and comes back: see order.is_convex), its results of
one shape (one loop), in one graph.
"""

from collections.abc import Sequence

import onnx_ir as ir

from trtlab.graph.fused import flat, fuse
from trtlab.graph.ops import Kind
from trtlab.graph.order import Region, predecessors, renumber
from trtlab.graph.rule import Rule, is_kind, is_op, same_shape
from trtlab.graph.rules.conv_bn_folding import is_training


def is_pointwise(node: ir.Node) -> bool:
    """Whether number i of its result needs number i of its inputs alone. So it is with BatchNormalization in inference:
    a Mul and an Add for each channel."""
    if "pointwise" not in node.meta:
        node.meta["pointwise"] = all(
            is_kind(inner, Kind.POINTWISE) or (is_op(inner, "BatchNormalization") and not is_training(inner))
            for inner in flat([node])
        )
    return bool(node.meta["pointwise"])


def neighbours(node: ir.Node) -> list[ir.Node]:
    """Pointwise nodes that it reads or that read it."""
    readers = (use.node for value in node.outputs for use in value.uses() if use.node.graph is node.graph)
    return [other for other in dict.fromkeys([*predecessors(node), *readers]) if is_pointwise(other)]


def why_apart(region: Region, first: ir.Node, node: ir.Node) -> str:
    """Why the node cannot join the region of the first; empty if it can."""
    ours, its = first.outputs[0], node.outputs[0]
    if not same_shape(ours, its):
        return f"{ours.name} {ours.shape} and {its.name} {its.shape} do not fit one loop"
    return "" if region.can_take(node) else f"a path between {ours.name} and {its.name} runs outside"


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """The largest region that grows from the node; with a neighbour that cannot join where it grows to nothing."""
    if not is_pointwise(node):
        return []
    region, near = Region(node), neighbours(node)
    members = [node]
    for member in members:  # grows while we walk
        for other in near if member is node else neighbours(member):
            if other not in region.members and not why_apart(region, node, other):
                region.add(other)
                members.append(other)
    if len(members) == 1:
        members += near[:1]
    return [] if len(members) == 1 else sorted(members, key=lambda member: region.places[member])


def check(nodes: Sequence[ir.Node]) -> str:
    """A region of one has no one to fuse with; the pattern has found a convex one otherwise."""
    return why_apart(Region(nodes[0]), nodes[0], nodes[1]) if len(nodes) == 2 else ""


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """One node for the region; a value that is read outside as well is one more output."""
    call = fuse(nodes)
    renumber(call)
    return f"{len(nodes)} nodes, one loop, {len(call.outputs)} written"


RULE = Rule(name="pointwise_fusion", pattern=pattern, check=check, rewrite=rewrite)

"""Concat elimination: the producers write into their slices of the result, so that nothing is left to copy.

    x -> Conv -> a, x -> Conv -> b, [a, b] -> Concat -> y   ->   a and b are slices of y's buffer

Algebra: none; a decision about memory. ONNX has no slices of buffers, so the Concat stays, under the name
ConcatInPlace: any runtime may copy, an engine and `cost` know that no kernel is needed. A tensor lies in one place:
what has memory of its own, or a place already, must be copied.
"""

from collections.abc import Sequence

import onnx_ir as ir

from trtlab.graph.fused import fuse
from trtlab.graph.ops import Kind
from trtlab.graph.order import subgraphs
from trtlab.graph.rule import FUSED, IN_PLACE, STANDARD, Rule, has_place, is_data, is_kind, is_op, take_places


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """A Concat."""
    return [node] if is_op(node, "Concat") else []


def why_copied(value: ir.Value) -> str:
    """Why a tensor cannot be written right into the result; empty if its producer can do that."""
    maker = value.producer()
    if maker is None or is_data(maker):
        return f"{value.name} is an input or a weight: it already lies elsewhere"
    if value.is_graph_output():
        return f"{value.name} is an output of the graph, with memory of its own"
    if maker.domain not in {FUSED, *STANDARD} or subgraphs(maker):
        return f"{maker.op_type} may allocate {value.name} itself"
    if view := next((n for n in (maker, *(use.node for use in value.uses())) if is_kind(n, Kind.VIEW)), None):
        return f"{view.op_type} needs {value.name} in one piece"
    return has_place(value)


def check(nodes: Sequence[ir.Node]) -> str:
    """Every input has a producer that can write anywhere, and no other place to be."""
    inputs = [value for value in nodes[0].inputs if value is not None]
    if len(set(inputs)) < len(inputs):
        return "one tensor cannot lie in two places"
    return next(filter(None, map(why_copied, inputs)), "")


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """The Concat becomes a statement about memory."""
    parts = ", ".join(str(value.name) for value in nodes[0].inputs if value is not None)
    result = nodes[0].outputs[0].name
    take_places(fuse(nodes, IN_PLACE))
    return f"{parts} are written into {result}"


RULE = Rule(name="concat_elimination", pattern=pattern, check=check, rewrite=rewrite)

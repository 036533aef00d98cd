"""Vertical fusion: a producer and the pointwise work on its result become one kernel.

    x -> Conv -> Add(bias) -> Relu -> y       ->   x -> [Conv Add Relu] -> y
    x -> Conv -> Add(other branch) -> y       ->   x, other branch -> [Conv Add] -> y
    x -> MatMul -> Add -> Sigmoid -> y        ->   x -> [MatMul Add Sigmoid] -> y

Algebra: none, the same operators run in the same order. The kernel finishes each number while it is in a register, so
that the tensor in the middle is never written to memory and never read back. One pair a step: [Conv Add], then + Relu.
"""

from collections.abc import Sequence

import onnx_ir as ir

from trtlab.graph.fused import flat, fuse
from trtlab.graph.ops import Kind
from trtlab.graph.rule import Rule, is_kind, one_reader, operator, same_shape

LONGEST = 32
"""Operators behind a product in its kernel: each needs registers."""


def finishes(node: ir.Node) -> bool:
    """Whether the operator can end another's kernel."""
    known = operator(node)
    return known is not None and known.finishes


def produces(node: ir.Node) -> bool:
    """Whether it is a convolution or matrix product, alone or with pointwise work fused behind it."""
    (first, *rest) = flat([node])
    return is_kind(first, Kind.PRODUCT) and all(map(finishes, rest))


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """A producer and the first reader that could finish its numbers."""
    if not produces(node):
        return []
    readers = (use.node for use in node.outputs[0].uses() if use.node.graph is node.graph)
    reader = next(filter(finishes, readers), None)
    return [] if reader is None else [node, reader]


def check(nodes: Sequence[ir.Node]) -> str:
    """Only that reader, and one number in for one number out."""
    producer, reader = nodes
    (middle,) = producer.outputs
    if shared := one_reader(middle):
        return shared
    if len(list(flat([producer]))) > LONGEST:
        return f"{LONGEST} operators wait for {middle.name} in one kernel already"
    if len(middle.uses()) > 1:
        return f"{reader.name} reads {middle.name} twice"
    return (
        "" if same_shape(middle, reader.outputs[0]) else f"{reader.name} broadcasts {middle.name}, or a size is unknown"
    )


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """Both as one node."""
    middle = nodes[0].outputs[0].name
    return f"{middle} stays in registers: {fuse(nodes).name}"


RULE = Rule(name="vertical_fusion", pattern=pattern, check=check, rewrite=rewrite)

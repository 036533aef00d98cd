"""Cancelling transposes: two in a row are one, or none.

    x -> Transpose(p) -> Transpose(q) -> y   ->   x -> Transpose(p then q) -> y
    x -> Transpose(0, 1, 2, ...) -> y        ->   x

Algebra: axis i of Transpose(p) is axis p[i] of its input, so axis i after both is axis p[q[i]]. If that is i for every
i, nothing moved. A missing `perm` reverses the axes.
"""

from collections.abc import Sequence

import onnx_ir as ir

from trtlab.graph.rule import Rule, is_op, one_reader, replace, source, why_not_alias


def permutation(node: ir.Node) -> list[int] | None:
    """`perm` of a Transpose; None where it is missing and the rank is unknown."""
    if "perm" in node.attributes:
        return list(node.attributes["perm"].as_ints())
    shape = source(node).shape
    return None if shape is None else list(reversed(range(len(shape))))


def is_identity(perm: Sequence[int] | None) -> bool:
    """Whether the permutation moves nothing."""
    return perm is not None and list(perm) == sorted(perm)


def combined(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """The permutation that does `first` and then `second`: [1, 2, 0] twice is [2, 0, 1]."""
    return [first[axis] for axis in second]


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """A Transpose that moves nothing, or one behind another."""
    if not is_op(node, "Transpose") or node.inputs[0] is None:
        return []
    first = source(node).producer()
    if is_identity(permutation(node)):
        return [node]
    return [first, node] if is_op(first, "Transpose") and first.graph is node.graph else []


def check(nodes: Sequence[ir.Node]) -> str:
    """Both permutations must be known; an output of the graph needs a node that writes it."""
    if len(nodes) == 1:
        return why_not_alias(nodes[0].inputs[0], nodes[0].outputs[0])
    return "a rank is not known" if None in map(permutation, nodes) else ""


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """One Transpose for both. Where that moves nothing, it is taken out as well, unless the graph's output needs it."""
    (first, *_), last = nodes, nodes[-1]
    if len(nodes) == 1:
        replace(nodes, [], {first.outputs[0]: source(first)})
        return "a transpose that moves nothing"
    perm = combined(permutation(first) or (), permutation(last) or ())
    start, result = source(first), last.outputs[0]
    gone = nodes if not one_reader(first.outputs[0]) else [last]
    if is_identity(perm) and not why_not_alias(start, result):
        replace(gone, [], {result: start})
        return f"{first.name} and {last.name} cancel"
    merged = ir.Node("", "Transpose", [start], [ir.AttrInt64s("perm", perm)], name=last.name)
    replace(gone, [merged], {result: merged.outputs[0]})
    return f"{first.name} and {last.name} are one transpose {perm}"


RULE = Rule(name="transposes", pattern=pattern, check=check, rewrite=rewrite)

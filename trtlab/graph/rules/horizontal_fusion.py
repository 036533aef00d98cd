"""Horizontal fusion: convolutions or matrix products of one input are one wider one, and a split.

    x -> MatMul(q), x -> MatMul(k), x -> MatMul(v)   ->   x -> [MatMul(q k v side by side), Split] -> three results

Algebra: column j of x*w needs column j of w alone, so  x * [q | k | v] = [x*q | x*k | x*v].  Likewise for the channels
of a convolution, and for what is fused behind them with one number for each channel. x is read once, and one large
kernel fills a GPU better than three small ones. The kernel writes three tensors: nothing is copied by the split.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from trtlab.graph.fused import body, copied, flat, fuse, standing_for
from trtlab.graph.rule import Rule, constant, graph_of, is_op, new_weight, opset, replace, source, weight
from trtlab.graph.rules.common_subexpressions import kind
from trtlab.graph.rules.vertical_fusion import produces

CONVOLUTIONS = "Conv", "ConvTranspose"


def has_input(node: ir.Node, number: int) -> bool:
    """Whether an optional input is there: it may be missing, or empty."""
    return len(node.inputs) > number and node.inputs[number] is not None


def one_role(node: ir.Node) -> bool:
    """Whether every input is read once, inside a fused node too: beside itself, no tensor can lie in two ways."""
    inside, given = body(node), [value for value in node.inputs if value is not None]
    return len(set(given)) == len(given) and (inside is None or all(len(p.uses()) < 2 for p in inside.inputs))


def first_op(node: ir.Node) -> ir.Node:
    """The convolution or product in the node."""
    return next(flat([node]))


def widening_axis(node: ir.Node, number: int) -> int:
    """The axis of constant input `number` along which the channels of the result lie, counted from the end."""
    first, rank = first_op(node), len(source(node).shape or ())
    if is_op(first, *CONVOLUTIONS):  # bias (channels,), whatever follows (channels, 1, 1)
        along = -rank if is_op(first, "Conv") else 1 - rank  # weights (channels, ...), or (inputs, channels, ...)
        return along if number == 1 else -1 if number == 2 and has_input(first, 2) else 1 - rank
    return -2 if number == 1 and first.attributes.get_int("transB", 0) == 1 else -1


def channels(node: ir.Node) -> int:
    """How many channels the node computes; 0 for weights of another form."""
    kernel = weight(node, 1)
    return int(kernel.shape[widening_axis(node, 1)]) if kernel.ndim > 1 else 0


def rest(node: ir.Node, number: int) -> tuple[int, ...] | None:
    """The shape of a constant input without its channels; None where it has no entry for each channel."""
    shape, axis = weight(node, number).shape, widening_axis(node, number)
    if len(shape) < -axis or shape[axis] != channels(node) or channels(node) == 0:
        return None
    return (*shape[:axis], *(shape[axis + 1 :] if axis != -1 else ()))


def why_apart(a: ir.Node, b: ir.Node) -> str:
    """Why one node cannot compute both; empty if it can."""
    if kind(a) != kind(b) or [v is None for v in a.inputs] != [v is None for v in b.inputs]:
        return f"{a.name} and {b.name} differ in operator or attributes"
    if not (one_role(a) and one_role(b)):
        return f"{a.name} or {b.name} reads one tensor twice, which cannot lie beside itself in two ways"
    if variable := [str(v.name) for v in (*a.inputs[1:], *b.inputs[1:]) if v is not None and constant(v) is None]:
        return f"{variable[0]} is not constant, so it cannot lie beside another"
    if odd := [n for n, v in enumerate(a.inputs) if n and v and (rest(a, n) is None or rest(a, n) != rest(b, n))]:
        return f"{source(a, odd[0]).name} and {source(b, odd[0]).name} do not lie side by side"
    return "" if first_op(a).attributes.get_int("group", 1) == 1 else "grouped channels read different inputs"


def pattern(node: ir.Node) -> Sequence[ir.Node]:
    """The node and all that can be computed with it; or one that cannot, to say why."""
    if not produces(node) or node.inputs[0] is None or node.outputs[0].shape is None:
        return []
    uses = [use for use in node.inputs[0].uses() if use.idx == 0 and use.node.graph is node.graph]
    readers = [use.node for use in uses if produces(use.node)]
    group = [reader for reader in readers if reader is node or not why_apart(node, reader)]
    pair = readers[:2] if len(readers) > 1 else []
    return group if len(group) > 1 else pair  # which cannot; check says why


def check(nodes: Sequence[ir.Node]) -> str:
    """All inputs but the first are constant, with one entry for each channel, and of one shape otherwise."""
    return why_apart(nodes[0], nodes[1])


def rewrite(nodes: Sequence[ir.Node]) -> str:
    """The weights side by side, one wide node, and a split, fused: a kernel with several results."""
    first, graph = nodes[0], graph_of(nodes[0])
    wide = {source(first): source(first)}
    for number in (number for number in range(1, len(first.inputs)) if has_input(first, number)):
        arrays = np.concatenate([weight(node, number) for node in nodes], widening_axis(first, number))
        wide[source(first, number)] = new_weight(graph, f"{source(first, number).name}_wide", arrays)
    sizes = [channels(node) for node in nodes]
    axis = 1 if is_op(first_op(first), *CONVOLUTIONS) else len(first.outputs[0].shape or ()) - 1
    work = list(copied([first], wide))
    for value in (value for node in work for value in node.outputs):
        value.shape = ir.Shape([sum(sizes) if i == axis else size for i, size in enumerate(value.shape or ())])
    work += split(work[-1].outputs[0], axis, sizes, opset(first))
    for number, node in enumerate(work):
        node.metadata_props.update(standing_for([] if number else nodes))
    replace(nodes, work, dict(zip((node.outputs[0] for node in nodes), work[-1].outputs, strict=True)))
    return f"{len(nodes)} results of one {first_op(first).op_type}: {fuse(work).name}"


def split(value: ir.Value, axis: int, sizes: Sequence[int], version: int) -> list[ir.Node]:
    """A Split; its sizes are an attribute before opset 13 and an input since."""
    along, count = ir.AttrInt64("axis", axis), len(sizes)
    if version < 13:
        return [ir.Node("", "Split", [value], [along, ir.AttrInt64s("split", sizes)], num_outputs=count)]
    constants = ir.Node("", "Constant", [], [ir.AttrInt64s("value_ints", sizes)])
    return [constants, ir.Node("", "Split", [value, constants.outputs[0]], [along], num_outputs=count)]


RULE = Rule(name="horizontal_fusion", pattern=pattern, check=check, rewrite=rewrite)

"""graph/rules/fusion: rules that make one kernel of several nodes, and a Concat that needs none.

In: nodes of an onnx_ir graph. Out: fused ones (graph/fused). Each class is a rule; its docstring is what a page says of
it. `vertical`, `horizontal` and `pointwise` decide in which order a kernel works; none does other arithmetic.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from trtlab.graph.fused import body, copied, flat, fuse, standing_for
from trtlab.graph.ops import Kind
from trtlab.graph.order import Region, predecessors, renumber, subgraphs
from trtlab.graph.rule import (
    FUSED,
    IN_PLACE,
    STANDARD,
    Nodes,
    Rule,
    constant,
    graph_of,
    has_place,
    is_data,
    is_kind,
    is_op,
    new_weight,
    one_reader,
    operator,
    opset,
    replace,
    same_shape,
    source,
    weight,
)
from trtlab.graph.rules.constants import is_training
from trtlab.graph.rules.layers import kind

LONGEST = 32
"""Operators behind a product in its kernel: each needs registers."""


class VerticalFusion(Rule):
    """Vertical fusion: a producer and the pointwise work on its result become one kernel.

        x -> Conv -> Add(bias) -> Relu -> y       ->   x -> [Conv Add Relu] -> y
        x -> Conv -> Add(other branch) -> y       ->   x, other branch -> [Conv Add] -> y
        x -> MatMul -> Add -> Sigmoid -> y        ->   x -> [MatMul Add Sigmoid] -> y

    Algebra: none, the same operators run in the same order. The kernel finishes each number while it is in a register,
    so that the tensor in the middle is never written to memory and never read back. One pair a step: [Conv Add], then
    + Relu.
    """

    name = "vertical_fusion"

    def pattern(self, node: ir.Node) -> Nodes:
        """A producer and the first reader that could finish its numbers."""
        if not produces(node):
            return []
        readers = (use.node for use in node.outputs[0].uses() if use.node.graph is node.graph)
        reader = next(filter(finishes, readers), None)
        return [] if reader is None else [node, reader]

    def check(self, nodes: Nodes) -> str:
        """Only that reader, and one number in for one number out."""
        producer, reader = nodes
        (middle,) = producer.outputs
        if shared := one_reader(middle):
            return shared
        if len(list(flat([producer]))) > LONGEST:
            return f"{LONGEST} operators wait for {middle.name} in one kernel already"
        if len(middle.uses()) > 1:
            return f"{reader.name} reads {middle.name} twice"
        alike = same_shape(middle, reader.outputs[0])
        return "" if alike else f"{reader.name} broadcasts {middle.name}, or a size is unknown"

    def rewrite(self, nodes: Nodes) -> str:
        """Both as one node."""
        middle = nodes[0].outputs[0].name
        return f"{middle} stays in registers: {fuse(nodes).name}"


def finishes(node: ir.Node) -> bool:
    """Whether the operator can end another's kernel."""
    return (known := operator(node)) is not None and known.finishes


def produces(node: ir.Node) -> bool:
    """Whether it is a convolution or matrix product, alone or with pointwise work fused behind it."""
    (first, *rest) = flat([node])
    return is_kind(first, Kind.PRODUCT) and all(map(finishes, rest))


class HorizontalFusion(Rule):
    """Horizontal fusion: convolutions or matrix products of one input are one wider one, and a split.

        x -> MatMul(q), x -> MatMul(k), x -> MatMul(v)   ->   x -> [MatMul(q k v side by side), Split] -> three results

    Algebra: column j of x*w needs column j of w alone, so  x * [q | k | v] = [x*q | x*k | x*v].  Likewise for the
    channels of a convolution, and for what is fused behind them with one number for each channel. x is read once, and
    one large kernel fills a GPU better than three small ones. The kernel writes three tensors: nothing is copied by the
    split.
    """

    name = "horizontal_fusion"

    def pattern(self, node: ir.Node) -> Nodes:
        """The node and all that can be computed with it; or one that cannot, to say why."""
        if not widens(node) or node.outputs[0].shape is None:
            return []
        uses = [use for use in source(node).uses() if use.idx == 0 and use.node.graph is node.graph]
        readers = [use.node for use in uses if widens(use.node)]
        group = [reader for reader in readers if reader is node or not why_apart(node, reader)]
        return group if len(group) > 1 else readers[:2] if len(readers) > 1 else []  # two that cannot: check says so

    def check(self, nodes: Nodes) -> str:
        """All inputs but the first are constant, with one entry for each channel, and of one shape otherwise."""
        return why_apart(nodes[0], nodes[1])

    def rewrite(self, nodes: Nodes) -> str:
        """The weights side by side, one wide node, and a split, fused: a kernel with several results."""
        first, sizes = nodes[0], [channels(node) for node in nodes]
        wide = {source(first): source(first)}
        for number, value in [(number, value) for number, value in enumerate(first.inputs) if number and value]:
            arrays = np.concatenate([weight(node, number) for node in nodes], widening_axis(first, number))
            wide[value] = new_weight(graph_of(first), f"{value.name}_wide", arrays)
        axis = 1 if is_op(first_op(first), "Conv") else len(first.outputs[0].shape or ()) - 1
        work = list(copied([first], wide))
        for value in (value for node in work for value in node.outputs):
            value.shape = ir.Shape([sum(sizes) if i == axis else size for i, size in enumerate(value.shape or ())])
        work += split(work[-1].outputs[0], axis, sizes, opset(first))
        for number, node in enumerate(work):
            node.metadata_props.update(standing_for([] if number else nodes))
        replace(nodes, work, dict(zip((node.outputs[0] for node in nodes), work[-1].outputs, strict=True)))
        return f"{len(nodes)} results of one {first_op(first).op_type}: {fuse(work).name}"


def widens(node: ir.Node) -> bool:
    """Whether it may have more channels: weights of a ConvTranspose lie in another order."""
    return produces(node) and not is_op(first_op(node), "ConvTranspose")


def first_op(node: ir.Node) -> ir.Node:
    """The convolution or product in the node."""
    return next(flat([node]))


def widening_axis(node: ir.Node, number: int) -> int:
    """The axis of constant input `number` along which the channels of the result lie, counted from the end."""
    first, rank = first_op(node), len(source(node).shape or ())
    if is_op(first, "Conv"):  # weights (channels, ...), bias (channels,), whatever follows (channels, 1, 1)
        return -rank if number == 1 else -1 if number == 2 and first.inputs[2:] and first.inputs[2] else 1 - rank
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
    for node in (a, b):
        inside, given = body(node), [value for value in node.inputs if value is not None]
        if len(set(given)) < len(given) or (inside is not None and any(len(p.uses()) > 1 for p in inside.inputs)):
            return f"{node.name} reads one tensor twice, which cannot lie beside itself in two ways"
    if variable := [str(v.name) for v in (*a.inputs[1:], *b.inputs[1:]) if v is not None and constant(v) is None]:
        return f"{variable[0]} is not constant, so it cannot lie beside another"
    if odd := [n for n, v in enumerate(a.inputs) if n and v and (rest(a, n) is None or rest(a, n) != rest(b, n))]:
        return f"{source(a, odd[0]).name} and {source(b, odd[0]).name} do not lie side by side"
    return "" if first_op(a).attributes.get_int("group", 1) == 1 else "grouped channels read different inputs"


def split(value: ir.Value, axis: int, sizes: Sequence[int], version: int) -> list[ir.Node]:
    """A Split; its sizes are an attribute before opset 13 and an input since."""
    along, count = ir.AttrInt64("axis", axis), len(sizes)
    if version < 13:
        return [ir.Node("", "Split", [value], [along, ir.AttrInt64s("split", sizes)], num_outputs=count)]
    constants = ir.Node("", "Constant", [], [ir.AttrInt64s("value_ints", sizes)])
    return [constants, ir.Node("", "Split", [value, constants.outputs[0]], [along], num_outputs=count)]


class PointwiseFusion(Rule):
    """Pointwise fusion: any graph of elementwise operators is one kernel with one loop.

        a, b, c -> Mul(a, b) -> Add(c) -> Relu -> y   ->   a, b, c -> [Mul Add Relu] -> y

    Algebra: none. Number i of every result depends on number i of the inputs alone (after broadcasting), so one loop
    over i can do all operators. The region must be convex (no path leaves it and comes back: see order.Region), its
    results of one shape (one loop), in one graph.
    """

    name = "pointwise_fusion"

    def pattern(self, node: ir.Node) -> Nodes:
        """The largest region that grows from the node; with a neighbour that cannot join where it grows to nothing."""
        if not is_pointwise(node):
            return []
        region, near = Region(node), neighbours(node)
        members = [node]
        for member in members:  # grows while we walk
            for other in near if member is node else neighbours(member):
                if other not in region.members and not why_outside(region, node, other):
                    region.add(other)
                    members.append(other)
        if len(members) == 1:
            members += near[:1]
        return [] if len(members) == 1 else sorted(members, key=lambda member: region.places[member])

    def check(self, nodes: Nodes) -> str:
        """A region of one has no one to fuse with; the pattern has found a convex one otherwise."""
        return why_outside(Region(nodes[0]), nodes[0], nodes[1]) if len(nodes) == 2 else ""

    def rewrite(self, nodes: Nodes) -> str:
        """One node for the region; a value that is read outside as well is one more output."""
        call = fuse(nodes)
        renumber(call)
        return f"{len(nodes)} nodes, one loop, {len(call.outputs)} written"


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


def why_outside(region: Region, first: ir.Node, node: ir.Node) -> str:
    """Why the node cannot join the region of the first; empty if it can."""
    ours, its = first.outputs[0], node.outputs[0]
    if not same_shape(ours, its):
        return f"{ours.name} {ours.shape} and {its.name} {its.shape} do not fit one loop"
    return "" if region.can_take(node) else f"a path between {ours.name} and {its.name} runs outside"


class ConcatElimination(Rule):
    """Concat elimination: the producers write into their slices of the result, so that nothing is left to copy.

        x -> Conv -> a, x -> Conv -> b, [a, b] -> Concat -> y   ->   a and b are slices of y's buffer

    Algebra: none; a decision about memory. ONNX has no slices of buffers, so the Concat stays, under the name
    ConcatInPlace: any runtime may copy, an engine and `cost` know that no kernel is needed. A tensor lies in one place:
    what has memory of its own, or a place already, must be copied.
    """

    name = "concat_elimination"

    def pattern(self, node: ir.Node) -> Nodes:
        """A Concat."""
        return [node] if is_op(node, "Concat") else []

    def check(self, nodes: Nodes) -> str:
        """Every input has a producer that can write anywhere, and no other place to be."""
        inputs = [value for value in nodes[0].inputs if value is not None]
        if len(set(inputs)) < len(inputs):
            return "one tensor cannot lie in two places"
        return next(filter(None, map(why_copied, inputs)), "")

    def rewrite(self, nodes: Nodes) -> str:
        """The Concat becomes a statement about memory."""
        parts = ", ".join(str(value.name) for value in nodes[0].inputs if value is not None)
        result = nodes[0].outputs[0].name
        fuse(nodes, IN_PLACE)
        return f"{parts} are written into {result}"


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

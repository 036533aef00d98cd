"""graph/rules/layers: rules that take nodes away: dead layers, work that is done twice, transposes that cancel.

In: nodes of an onnx_ir graph. Out: fewer of them. Each class is a rule; its docstring is what a page says of it.
"""

from collections.abc import Hashable

import onnx_ir as ir

from trtlab.graph.ops import Kind
from trtlab.graph.rule import (
    Nodes,
    Rule,
    constant,
    graph_of,
    has_place,
    is_data,
    is_kind,
    is_op,
    one_reader,
    replace,
    source,
    why_not_alias,
)
from trtlab.graph.rules.constants import LIMIT_BYTES, is_deterministic


class DeadLayers(Rule):
    """Dead-layer elimination: what nobody reads need not run, and what changes nothing need not be there.

        x -> Relu -> (nobody)              ->   (nothing)
        x -> Identity -> y                 ->   x
        x -> Dropout (inference) -> y      ->   x
        x -> Cast (to its own type) -> y   ->   x

    Algebra: in inference Dropout is the identity: y = x. It scales during training, so that the mean already fits.
    """

    name = "dead_layers"

    def pattern(self, node: ir.Node) -> Nodes:
        """A dead branch at its last node, or a node that may change nothing."""
        if is_dead(node) and not is_data(node):
            return dead_branch(node)
        casts = is_op(node, "Cast") and node.attributes.get_int("to", 0) != source(node).dtype
        return [node] if is_op(node, "Identity", "Dropout", "Cast") and not casts else []

    def check(self, nodes: Nodes) -> str:
        """Dropout must be in inference mode, its mask unread; outputs of the graph keep a node that writes them."""
        (node, *_) = nodes
        if is_dead(node):
            return ""
        for training in filter(None, node.inputs[2:]):  # of a Dropout
            mode = constant(training)
            if mode is None:
                return f"training_mode is {training.name}, which is only known at run time"
            if mode.any():
                return "training_mode is on: it drops values at random"
        if any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
            return "its mask is read"
        return why_not_alias(source(node), node.outputs[0])

    def rewrite(self, nodes: Nodes) -> str:
        """Remove the branch, or let the readers of the output read the input."""
        (node, *_) = nodes
        dead = is_dead(node) and f"nobody reads {node.outputs[0].name}: {len(nodes)} dead"
        replace(nodes, [], {} if dead else {node.outputs[0]: source(node)})
        return dead or f"{node.op_type} changes nothing"


def is_dead(node: ir.Node) -> bool:
    """Whether nobody reads any output of the node."""
    return not any(value.uses() or value.is_graph_output() for value in node.outputs)


def dead_branch(last: ir.Node) -> list[ir.Node]:
    """A dead node and every node that works only for it, last node first."""
    branch, members = [last], {last}
    for node in branch:  # grows while we walk
        for value in node.inputs:
            maker = value.producer() if value is not None else None
            if maker is None or maker in members or maker.graph is not last.graph or is_data(maker):
                continue
            results = maker.outputs
            if not any(v.is_graph_output() or any(use.node not in members for use in v.uses()) for v in results):
                branch.append(maker)
                members.add(maker)
    return branch


class CommonSubexpressions(Rule):
    """Common subexpressions: the same operator on the same values is computed once.

        x -> Exp -> a,  x -> Exp -> b   ->   x -> Exp -> a,  and who read b reads a

    Algebra: f(x) = f(x) for a deterministic f. Values are the same if they are one value, or constants of the same bits
    (0.0 and -0.0 differ: 1/x tells them apart).
    """

    name = "common_subexpressions"

    def pattern(self, node: ir.Node) -> Nodes:
        """The node and the one before it that does the same."""
        if not node.inputs or is_data(node) or not is_deterministic(node):
            return []
        seen: dict[Hashable, ir.Node] = graph_of(node).meta.setdefault("work", {})
        done = kind(node), tuple(map(bits, node.inputs)), tuple(value.name != "" for value in node.outputs)
        first = seen.setdefault(done, node)
        if first.graph is not node.graph:  # taken out meanwhile
            seen[done] = first = node
        return [] if first is node else [first, node]

    def check(self, nodes: Nodes) -> str:
        """Two outputs of the graph need two nodes, and so does a place in a concatenation."""
        for a, b in zip(*(node.outputs for node in nodes), strict=True):
            if a.is_graph_output() and b.is_graph_output():
                return f"{a.name} and {b.name} are both outputs of the graph"
            as_one_piece = b.is_graph_output() or any(is_kind(use.node, Kind.VIEW) for use in b.uses())
            if place := has_place(b) or (has_place(a) if as_one_piece else ""):
                return place
        return ""

    def rewrite(self, nodes: Nodes) -> str:
        """The readers of the second node read the first."""
        kept, twin = nodes
        replace([twin], [], dict(zip(twin.outputs, kept.outputs, strict=True)))
        return f"{twin.name} computes what {kept.name} computes"


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


class Transposes(Rule):
    """Cancelling transposes: two in a row are one, or none.

        x -> Transpose(p) -> Transpose(q) -> y   ->   x -> Transpose(p then q) -> y
        x -> Transpose(0, 1, 2, ...) -> y        ->   x

    Algebra: axis i of Transpose(p) is axis p[i] of its input, so axis i after both is axis p[q[i]]. If that is i for
    every i, nothing moved. A missing `perm` reverses the axes.
    """

    name = "transposes"

    def pattern(self, node: ir.Node) -> Nodes:
        """A Transpose that moves nothing, or one behind another."""
        if not is_op(node, "Transpose"):
            return []
        first, perm = source(node).producer(), permutation(node)
        if perm is not None and perm == sorted(perm):
            return [node]
        return [first, node] if is_op(first, "Transpose") and first.graph is node.graph else []

    def check(self, nodes: Nodes) -> str:
        """Both permutations must be known; an output of the graph needs a node that writes it."""
        if len(nodes) == 1:
            return why_not_alias(source(nodes[0]), nodes[0].outputs[0])
        return "a rank is not known" if None in map(permutation, nodes) else ""

    def rewrite(self, nodes: Nodes) -> str:
        """One Transpose for both; where that moves nothing, none, unless the graph's output needs it."""
        (first, *_), last = nodes, nodes[-1]
        if len(nodes) == 1:
            replace(nodes, [], {first.outputs[0]: source(first)})
            return "a transpose that moves nothing"
        before, after = permutation(first) or [], permutation(last) or []
        perm = [before[axis] for axis in after]
        start, result = source(first), last.outputs[0]
        gone = nodes if not one_reader(first.outputs[0]) else [last]
        if perm == sorted(perm) and not why_not_alias(start, result):
            replace(gone, [], {result: start})
            return f"{first.name} and {last.name} cancel"
        merged = ir.Node("", "Transpose", [start], [ir.AttrInt64s("perm", perm)], name=last.name)
        replace(gone, [merged], {result: merged.outputs[0]})
        return f"{first.name} and {last.name} are one transpose {perm}"


def permutation(node: ir.Node) -> list[int] | None:
    """`perm` of a Transpose; None where it is missing and the rank is unknown."""
    if "perm" in node.attributes:
        return list(node.attributes["perm"].as_ints())
    shape = source(node).shape
    return None if shape is None else list(reversed(range(len(shape))))
